use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cgroup::InterfaceCounters;

use super::*;

const CGROUP: &str = "kubepods/pod1/c1";

fn write(directory: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}

fn version_1(root: &Path) -> Cgroup {
    let tree = |name: &str| root.join(name).join(CGROUP);
    let throttling = "nr_periods 20\nnr_throttled 5\nthrottled_time 3500000000\nnr_bursts 8\nburst_time 2500000000\n";
    let cpu =
        [("cpuacct.usage", "12300000000\n"), ("cpuacct.stat", "user 1000\nsystem 230\n"), ("cpu.shares", "102\n")];
    write(&tree("cpu,cpuacct"), &cpu);
    let limits = [("cpu.cfs_period_us", "100000\n"), ("cpu.cfs_quota_us", "50000\n"), ("cpu.stat", throttling)];
    write(&tree("cpu,cpuacct"), &limits);
    write(&tree("cpu,cpuacct"), &[("cgroup.procs", "")]);
    let stat = "cache 1\npgfault 3\npgmajfault 1\ntotal_cache 50\ntotal_rss 500\ntotal_mapped_file 20\ntotal_swap 0\n\
                total_workingset_refault_anon 23\ntotal_workingset_refault_file 24\n\
                total_pgfault 7\ntotal_pgmajfault 2\ntotal_inactive_file 300\ntotal_active_file 40\n";
    write(
        &tree("memory"),
        &[
            ("memory.stat", stat),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.max_usage_in_bytes", "2000\n"),
            ("memory.limit_in_bytes", "4096\n"),
            ("memory.soft_limit_in_bytes", "9223372036854771712\n"),
            ("memory.kmem.usage_in_bytes", "60\n"),
            ("memory.failcnt", "4\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n"),
        ],
    );
    write(&tree("pids"), &[("pids.current", "9\n"), ("pids.max", "max\n")]);
    write(
        &tree("blkio"),
        &[
            ("blkio.bfq.io_service_bytes_recursive", "Total 0\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "999:7 Read 4096\n999:7 Write 8192\n999:7 Total 12288\nTotal 12288\n",
            ),
            ("blkio.throttle.io_serviced_recursive", "999:7 Read 1\n999:7 Write 2\nTotal 3\n"),
        ],
    );
    Cgroup::new(root, CGROUP, false)
}

fn version_2(root: &Path) -> Cgroup {
    let cpu = "usage_usec 12300000\nuser_usec 10000000\nsystem_usec 2300000\nnr_periods 20\nnr_throttled 5\n\
               throttled_usec 3500000\nnr_bursts 8\nburst_usec 2500000\n";
    let pressure =
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=4000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n";
    write(
        &root.join(CGROUP),
        &[
            ("cpu.stat", cpu),
            ("cpu.weight", "4\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.pressure", pressure),
            (
                "memory.stat",
                "anon 500\nfile 50\nfile_mapped 20\nkernel 60\ninactive_file 300\nactive_file 40\npgfault 7\npgmajfault 2\n\
                 file_dirty 30\nfile_writeback 10\npgscan 21\npgsteal 22\nworkingset_refault_anon 23\n\
                 workingset_refault_file 24\n",
            ),
            ("memory.current", "1000\n"),
            ("memory.peak", "2000\n"),
            ("memory.max", "4096\n"),
            ("memory.min", "0\n"),
            ("memory.swap.current", "0\n"),
            ("memory.swap.max", "max\n"),
            ("memory.events", "low 0\nhigh 9\nmax 4\noom 6\noom_kill 6\n"),
            ("memory.pressure", pressure),
            ("cgroup.procs", ""),
            ("pids.current", "9\n"),
            ("pids.max", "100\n"),
            ("io.stat", "999:7 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"),
            ("io.pressure", pressure),
        ],
    );
    Cgroup::new(root, CGROUP, true)
}

/// Values by name and own labels.
fn values(cgroup: &Cgroup) -> BTreeMap<String, u64> {
    let owner = Owner { id: cgroup.id(), ..Owner::default() };
    let metrics = of_cgroup(cgroup, &owner, None, (4 * SECOND as i64, 5 * SECOND as i64)).unwrap();
    let name = |metric: &Metric| {
        assert_eq!(metric.label_values[0], "/kubepods/pod1/c1");
        let own = metric.label_values[family::COMMON.len()..].iter().map(|label| format!(" {label}"));
        metric.name.trim_start_matches("container_").to_owned() + &own.collect::<String>()
    };
    metrics.iter().map(|metric| (name(metric), metric.value.unwrap().value)).collect()
}

/// What both versions give for the cgroups above.
const BOTH: &[(&str, u64)] = &[
    ("blkio_device_usage_total 999:7 999 7 Read", 4096),
    ("blkio_device_usage_total 999:7 999 7 Write", 8192),
    ("cpu_cfs_burst_periods_total", 8),
    ("cpu_cfs_burst_seconds_total", 2),
    ("cpu_cfs_periods_total", 20),
    ("cpu_cfs_throttled_periods_total", 5),
    ("cpu_cfs_throttled_seconds_total", 3),
    ("cpu_system_seconds_total", 2),
    ("cpu_usage_seconds_total total", 12),
    ("cpu_user_seconds_total", 10),
    ("creation_time_seconds", 4),
    ("file_descriptors", 0),
    ("fs_reads_bytes_total 999:7", 4096),
    ("fs_reads_total 999:7", 1),
    ("fs_writes_bytes_total 999:7", 8192),
    ("fs_writes_total 999:7", 2),
    ("memory_cache", 50),
    ("memory_failcnt", 4),
    ("memory_failures_total pgfault hierarchy", 7),
    ("memory_failures_total pgmajfault hierarchy", 2),
    ("memory_kernel_usage", 60),
    ("memory_mapped_file", 20),
    ("memory_max_usage_bytes", 2000),
    ("memory_rss", 500),
    ("memory_swap", 0),
    ("memory_total_active_file_bytes", 40),
    ("memory_total_inactive_file_bytes", 300),
    ("memory_usage_bytes", 1000),
    ("memory_working_set_bytes", 700),
    ("oom_events_total", 6),
    ("processes", 0),
    ("sockets", 0),
    ("spec_cpu_period", 100_000),
    ("spec_cpu_quota", 50_000),
    ("memory_workingset_refault_anon_total", 23),
    ("memory_workingset_refault_file_total", 24),
    ("spec_memory_limit_bytes", 4096),
    ("spec_memory_reservation_limit_bytes", 0),
    ("start_time_seconds", 5),
    ("threads", 9),
];

#[track_caller]
fn assert_values(cgroup: &Cgroup, more: &[(&str, u64)]) {
    let mut values = values(cgroup);
    assert!(values.remove("last_seen").unwrap() > 1_600_000_000);
    let expected = BOTH.iter().chain(more).map(|(name, value)| ((*name).to_owned(), *value));
    assert_eq!(values, expected.collect());
}

#[test]
fn version_1_gives_what_its_hierarchies_have() {
    let root = tempfile::tempdir().unwrap();
    let more = [
        ("blkio_device_usage_total 999:7 999 7 Total", 12_288),
        ("memory_failures_total pgfault container", 3),
        ("memory_failures_total pgmajfault container", 1),
        ("spec_cpu_shares", 102),
        ("threads_max", 0),
    ];
    assert_values(&version_1(root.path()), &more);
}

#[test]
fn version_2_gives_what_its_directory_has_and_its_pressure() {
    let root = tempfile::tempdir().unwrap();
    let more = [
        ("blkio_device_usage_total 999:7 999 7 Discard", 0),
        ("memory_events_high_total", 9),
        ("memory_events_max_total", 4),
        ("memory_failures_total pgfault container", 7),
        ("memory_failures_total pgmajfault container", 2),
        ("memory_file_dirty_bytes", 30),
        ("memory_file_writeback_bytes", 10),
        ("memory_pgscan_total", 21),
        ("memory_pgsteal_total", 22),
        ("pressure_cpu_stalled_seconds_total", 2),
        ("pressure_cpu_waiting_seconds_total", 4),
        ("pressure_io_stalled_seconds_total", 2),
        ("pressure_io_waiting_seconds_total", 4),
        ("pressure_memory_stalled_seconds_total", 2),
        ("pressure_memory_waiting_seconds_total", 4),
        // 102 shares, a tenth of a CPU, as exactly as the weight has them.
        ("spec_cpu_shares", 80),
        ("spec_memory_swap_limit_bytes", 0),
        ("threads_max", 100),
    ];
    assert_values(&version_2(root.path()), &more);
}

#[test]
fn without_a_quota_there_are_no_throttling_metrics() {
    let root = tempfile::tempdir().unwrap();
    let first = version_1(&root.path().join("1"));
    fs::write(first.cpu().join("cpu.cfs_quota_us"), "-1\n").unwrap();
    let second = version_2(&root.path().join("2"));
    fs::write(second.controller("cpu").join("cpu.max"), "max 100000\n").unwrap();
    for values in [values(&first), values(&second)] {
        assert_eq!(values["spec_cpu_period"], 100_000);
        assert!(!values.keys().any(|name| name.contains("cfs") || name.contains("quota")), "{values:?}");
    }
}

#[test]
fn a_cgroup_that_is_gone_has_no_samples() {
    let root = tempfile::tempdir().unwrap();
    for version in [false, true] {
        assert!(of_cgroup(&Cgroup::new(root.path(), CGROUP, version), &Owner::default(), None, (0, 0)).is_none());
    }
}

#[test]
fn every_sample_has_a_descriptor_with_as_many_keys_and_names_are_unique() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = [version_1(&root.path().join("1")), version_2(&root.path().join("2"))];
    let pid = i32::try_from(std::process::id()).unwrap();
    let owner = Owner::default();
    let mut metrics: Vec<Metric> =
        cgroups.iter().flat_map(|cgroup| of_cgroup(cgroup, &owner, Some(pid), (1, 1)).unwrap()).collect();
    metrics.extend(samples(
        network::FAMILIES,
        &owner,
        &Network::new(InterfaceCounters::parse("\n\neth0: 1 2 3 4 5 6 7 8 9 10 11 12\n")),
    ));
    metrics.extend(samples(disk::LAYER, &owner, &Layer::default()));

    let all = descriptors_of(&Kernel { reclaim: true, schedulers: true });
    let keys: BTreeMap<&str, &[String]> =
        all.iter().map(|one| (one.name.as_str(), one.label_keys.as_slice())).collect();
    assert_eq!(keys.len(), all.len(), "a name occurs twice");
    for metric in &metrics {
        assert_eq!(keys[metric.name.as_str()].len(), metric.label_values.len(), "{metric:?}");
    }
    let sampled: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    let unsampled: Vec<&str> = keys.into_keys().filter(|name| !sampled.contains(name)).collect();
    // Only old schedulers count these; the fixtures have none of them.
    let of_schedulers = [
        "container_fs_io_current",
        "container_fs_io_time_seconds_total",
        "container_fs_read_seconds_total",
        "container_fs_reads_merged_total",
        "container_fs_write_seconds_total",
        "container_fs_writes_merged_total",
    ];
    assert_eq!(unsampled, of_schedulers);
    let least = descriptors_of(&Kernel { reclaim: false, schedulers: false });
    assert!(least.iter().all(|one| !of_schedulers.contains(&one.name.as_str()) && !one.name.contains("_pgscan_")));
    for descriptor in &all {
        assert!(descriptor.help.ends_with('.') && descriptor.name.starts_with("container_"), "{descriptor:?}");
        assert_eq!(descriptor.label_keys[..family::COMMON.len()], family::COMMON);
    }
}
