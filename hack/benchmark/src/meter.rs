//! CPU time and memory of processes, as the kernel counts them.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use nix::time::ClockId;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// USER_HZ is 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);
/// The files with a box's CPU time: cgroup v1, v1 mounted together with cpu, and v2.
const BOX_USAGE: [&str; 3] =
    ["/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu.stat"];

/// CPU time of a process, user and system, in nanoseconds: `/proc/PID/stat` counts in steps of 10 ms, which is too coarse
/// for an idle server.
pub(crate) fn cpu(pid: u32) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32)).expect("the process lives");
    now(clock)
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Duration {
    now(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn now(clock: ClockId) -> Duration {
    clock.now().expect("the clock of a process that lives").into()
}

/// CPU time of the children that a process has waited for.
pub(crate) fn children_cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    TICK * (fields[13].parse::<u32>().unwrap() + fields[14].parse::<u32>().unwrap())
}

/// CPU time of containerd's shims, which are not its children, and of the children that they have waited for.
pub(crate) fn shims_cpu(address: &Path) -> Duration {
    let address = address.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("the processes");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_shim = |pid: &u32| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.contains("shim") && words.split('\0').any(|word| word == address)
    };
    pids.filter(is_shim).map(|pid| cpu(pid) + children_cpu(pid)).sum()
}

/// Memory of a process, in MB.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}

/// CPU time of everything in this box.
fn box_cpu() -> Duration {
    let text = BOX_USAGE.iter().find_map(|path| std::fs::read_to_string(path).ok()).expect("the box's CPU time");
    match text.strip_prefix("usage_usec ") {
        Some(v2) => Duration::from_micros(v2.lines().next().unwrap().parse().unwrap()),
        None => Duration::from_nanos(text.trim().parse().unwrap()),
    }
}

/// CPU time of everything on the machine.
fn machine_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u32> = stat.lines().next().unwrap().split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    TICK * (fields[0] + fields[1] + fields[2] + fields[5] + fields[6])
}

/// The load average.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// The start of an interval whose usage is measured.
pub(crate) struct UsageStart {
    at: Instant,
    inside: Duration,
    own: Duration,
    machine: Duration,
}

/// What was used since a [`UsageStart`].
pub(crate) struct Usage {
    pub elapsed: Duration,
    /// By everything in the box but this program.
    pub inside: Duration,
    /// By everything outside of the box, in percent of the machine.
    pub others: f64,
}

impl UsageStart {
    pub(crate) fn now() -> UsageStart {
        UsageStart { at: Instant::now(), inside: box_cpu(), own: own_cpu(), machine: machine_cpu() }
    }

    pub(crate) fn used(&self) -> Usage {
        let elapsed = self.at.elapsed();
        let inside = box_cpu() - self.inside;
        let others = (machine_cpu() - self.machine).saturating_sub(inside);
        Usage {
            elapsed,
            inside: inside.saturating_sub(own_cpu() - self.own),
            others: others.as_secs_f64() / elapsed.as_secs_f64() / processors() as f64 * 100.0,
        }
    }
}
