//! What is read from and written to disks, and the room that a container's writable layer takes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::stat::major;
use nix::sys::stat::minor;
use nix::sys::statvfs::statvfs;

use crate::proto::FilesystemUsage;
use crate::proto::PsiStats;

use super::super::cgroup::pressure;
use super::family::Family;
use super::family::SECOND;
use super::family::Value;
use super::family::seconds;
use super::place::Place;

/// A disk, as `8:0`.
type Number = String;
/// What was counted for each disk, by the operation: `Read`, `Write`, `Total`, ...
type Counts = BTreeMap<(Number, String), u64>;

/// Beginnings of the names of version 1's files: the BFQ scheduler, the CFQ scheduler of kernels before 5.0, and what any
/// scheduler counts. The first that has seen a disk is believed: a scheduler that is not in use has empty files.
const SOURCES: [&str; 3] = ["blkio.bfq.", "blkio.", "blkio.throttle."];

/// Counts since the cgroup began; times are in nanoseconds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Io {
    bytes: Counts,
    operations: Counts,
    /// These three are kept by schedulers of version 1 only, and by BFQ only when it was built to be debugged.
    merged: Counts,
    time: Counts,
    queued: Counts,
    pressure: Option<PsiStats>,
}

impl Io {
    /// Whether a scheduler of version 1 counts what is in [`SCHEDULERS`].
    pub(super) fn has_schedulers(place: &Place) -> bool {
        !place.is_version_2 && Io::version_1(&place.tree("blkio")).is_some_and(|io| !io.merged.is_empty())
    }

    /// `None` when the cgroup is gone, or the kernel does not count.
    pub(super) fn read(place: &Place) -> Option<Io> {
        if place.is_version_2 { Io::version_2(&place.unified()) } else { Io::version_1(&place.tree("blkio")) }
    }

    fn version_1(directory: &Path) -> Option<Io> {
        let counts = |source: &str, what: &str| {
            let text = fs::read_to_string(directory.join(format!("{source}{what}_recursive"))).unwrap_or_default();
            rows(&text)
        };
        if !directory.exists() {
            return None;
        }
        let seen = SOURCES.iter().find(|source| !counts(source, "io_service_bytes").is_empty());
        Some(seen.map_or_else(Io::default, |source| Io {
            bytes: counts(source, "io_service_bytes"),
            operations: counts(source, "io_serviced"),
            merged: counts(source, "io_merged"),
            time: counts(source, "io_service_time"),
            queued: counts(source, "io_queued"),
            pressure: None,
        }))
    }

    fn version_2(directory: &Path) -> Option<Io> {
        let text = fs::read_to_string(directory.join("io.stat")).ok()?;
        let mut io = Io { pressure: pressure(&directory.join("io.pressure")), ..Io::default() };
        for line in text.lines() {
            let Some((disk, fields)) = line.split_once(' ') else { continue };
            for (name, value) in fields.split(' ').filter_map(|field| field.split_once('=')) {
                let (counts, operation) = match name {
                    "rbytes" => (&mut io.bytes, "Read"),
                    "wbytes" => (&mut io.bytes, "Write"),
                    "dbytes" => (&mut io.bytes, "Discard"),
                    "rios" => (&mut io.operations, "Read"),
                    "wios" => (&mut io.operations, "Write"),
                    "dios" => (&mut io.operations, "Discard"),
                    _ => continue,
                };
                if let Ok(value) = value.parse() {
                    counts.insert((disk.to_owned(), operation.to_owned()), value);
                }
            }
        }
        Some(io)
    }
}

/// Lines such as `8:0 Read 4096`; the line of all disks together has no number.
fn rows(text: &str) -> Counts {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let key = (words.next()?.to_owned(), words.next()?.to_owned());
        Some((key, words.next()?.parse().ok()?))
    });
    rows.collect()
}

/// The file of a disk by its number, or the number where there is none: `/dev/sda`.
fn device(number: &str) -> String {
    let target = fs::read_link(Path::new("/sys/dev/block").join(number));
    let name = target.ok().and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    name.map_or_else(|| number.to_owned(), |name| format!("/dev/{name}"))
}

/// The values of one operation, times `per` less.
fn each(counts: &Counts, operation: &str, per: u64) -> Vec<Value> {
    let values = counts.iter().filter(|((_, one), _)| one == operation);
    values.map(|((number, _), value)| Value::labelled(&[&device(number)], value / per)).collect()
}

fn by_operation(counts: &Counts) -> Vec<Value> {
    let value = |((number, operation), value): (&(Number, String), &u64)| {
        let (major, minor) = number.split_once(':')?;
        Some(Value::labelled(&[&device(number), major, minor, operation], *value))
    };
    counts.iter().filter_map(value).collect()
}

pub(super) const FAMILIES: &[Family<Io>] = &[
    Family::<Io>::counter("container_fs_reads_bytes_total", "Bytes read from a disk.", |io| each(&io.bytes, "Read", 1))
        .by(&["device"]),
    Family::<Io>::counter("container_fs_writes_bytes_total", "Bytes written to a disk.", |io| {
        each(&io.bytes, "Write", 1)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_reads_total", "Reads from a disk.", |io| each(&io.operations, "Read", 1))
        .by(&["device"]),
    Family::<Io>::counter("container_fs_writes_total", "Writes to a disk.", |io| each(&io.operations, "Write", 1))
        .by(&["device"]),
    Family::<Io>::counter(
        "container_blkio_device_usage_total",
        "Bytes moved from and to a disk, by operation.",
        |io| by_operation(&io.bytes),
    )
    .by(&["device", "major", "minor", "operation"]),
    Family::<Io>::counter(
        "container_pressure_io_waiting_seconds_total",
        "Time in which some process waited for a disk, in seconds.",
        |io| seconds(super::waiting(io.pressure.as_ref())),
    ),
    Family::<Io>::counter(
        "container_pressure_io_stalled_seconds_total",
        "Time in which all processes waited for a disk, in seconds.",
        |io| seconds(super::stalled(io.pressure.as_ref())),
    ),
];

/// What schedulers of version 1 count.
pub(super) const SCHEDULERS: &[Family<Io>] = &[
    Family::<Io>::counter("container_fs_reads_merged_total", "Reads that were made part of another.", |io| {
        each(&io.merged, "Read", 1)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_writes_merged_total", "Writes that were made part of another.", |io| {
        each(&io.merged, "Write", 1)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_read_seconds_total", "Time that reads took, in seconds.", |io| {
        each(&io.time, "Read", SECOND)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_write_seconds_total", "Time that writes took, in seconds.", |io| {
        each(&io.time, "Write", SECOND)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_io_time_seconds_total", "Time that all operations took, in seconds.", |io| {
        each(&io.time, "Total", SECOND)
    })
    .by(&["device"]),
    Family::<Io>::gauge("container_fs_io_current", "Operations that are under way.", |io| each(&io.queued, "Total", 1))
        .by(&["device"]),
];

/// A writable layer, and the file system it is on.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layer {
    device: String,
    used: u64,
    /// When that was measured, in nanoseconds since 1970.
    at: i64,
    capacity: u64,
    inodes: u64,
    free_inodes: u64,
}

impl Layer {
    /// `None` for a layer that was not measured yet, or is gone.
    pub(super) fn read(usage: &FilesystemUsage, mounts: &Mounts) -> Option<Layer> {
        let used = usage.used_bytes.as_ref()?.value;
        let directory = PathBuf::from(&usage.fs_id.as_ref()?.mountpoint);
        let whole = statvfs(&directory).ok()?;
        let number = fs::metadata(&directory).ok()?.dev();
        Some(Layer {
            device: mounts.device(&format!("{}:{}", major(number), minor(number))),
            used,
            at: usage.timestamp,
            capacity: whole.blocks() * whole.fragment_size(),
            inodes: whole.files(),
            free_inodes: whole.files_free(),
        })
    }

    fn value(&self, value: u64) -> Vec<Value> {
        vec![Value::labelled(&[&self.device], value)]
    }
}

/// What is mounted, for the names of file systems that are not on one disk of their own.
pub(super) struct Mounts(String);

impl Mounts {
    pub(super) fn read() -> Mounts {
        Mounts(fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// `/proc/PID/mountinfo` (proc_pid_mountinfo(5)): the third field is the number, the second after the dash the source.
    fn device(&self, number: &str) -> String {
        let line = self.0.lines().find(|line| line.split(' ').nth(2) == Some(number));
        let source = line.and_then(|line| line.split_once(" - ")?.1.split(' ').nth(1));
        source.map_or_else(|| device(number), str::to_owned)
    }
}

pub(super) const LAYER: &[Family<Layer>] = &[
    Family::<Layer>::gauge(
        "container_fs_usage_bytes",
        "What the container has written over its image, in bytes.",
        |layer| layer.value(layer.used).into_iter().map(|value| Value { at: layer.at, ..value }).collect(),
    )
    .by(&["device"]),
    Family::<Layer>::gauge(
        "container_fs_limit_bytes",
        "Size of the file system of the writable layer, in bytes.",
        |layer| layer.value(layer.capacity),
    )
    .by(&["device"]),
    Family::<Layer>::gauge("container_fs_inodes_total", "Inodes of that file system.", |layer| {
        layer.value(layer.inodes)
    })
    .by(&["device"]),
    Family::<Layer>::gauge("container_fs_inodes_free", "Free inodes of that file system.", |layer| {
        layer.value(layer.free_inodes)
    })
    .by(&["device"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_a_disk_has_the_name_it_was_mounted_by() {
        let mounts = Mounts("31 1 0:27 / /var rw,relatime shared:1 - btrfs /dev/vda2 rw\n".to_owned());
        assert_eq!(mounts.device("0:27"), "/dev/vda2");
        assert_eq!(mounts.device("0:28"), "0:28");
    }

    #[test]
    fn a_layer_that_was_not_measured_yet_has_no_values() {
        assert!(Layer::read(&FilesystemUsage::default(), &Mounts::read()).is_none());
    }
}
