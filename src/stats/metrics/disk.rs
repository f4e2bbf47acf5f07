//! What is read from and written to disks, and the space that a container's writable layer takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::stat::major;
use nix::sys::stat::minor;
use nix::sys::statvfs::statvfs;

use crate::cgroup::Io;
use crate::cgroup::IoCounts;
use crate::cgroup::MountInfo;
use crate::proto::FilesystemUsage;

use super::family::Family;
use super::family::SECOND;
use super::family::Value;
use super::family::stalled;
use super::family::waiting;

/// The device file of a disk, such as `/dev/sda`, by its number; the number where there is none.
fn device(number: &str) -> String {
    let target = fs::read_link(Path::new("/sys/dev/block").join(number));
    let name = target.ok().and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    name.map_or_else(|| number.to_owned(), |name| format!("/dev/{name}"))
}

/// The values of one operation by disk, divided by `unit`.
fn each(counts: &IoCounts, operation: &str, unit: u64) -> Vec<Value> {
    let values = counts.iter().filter(|((_, one), _)| one == operation);
    values.map(|((number, _), value)| Value::labelled(&[&device(number)], value / unit)).collect()
}

fn by_operation(counts: &IoCounts) -> Vec<Value> {
    let value = |((number, operation), value): (&(String, String), &u64)| {
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
        |io| waiting(io.pressure),
    ),
    Family::<Io>::counter(
        "container_pressure_io_stalled_seconds_total",
        "Time in which all processes waited for a disk, in seconds.",
        |io| stalled(io.pressure),
    ),
];

/// Metrics that only I/O schedulers of cgroup v1 count.
pub(super) const SCHEDULERS: &[Family<Io>] = &[
    Family::<Io>::counter("container_fs_reads_merged_total", "Reads merged with another.", |io| {
        each(&io.merged, "Read", 1)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_writes_merged_total", "Writes merged with another.", |io| {
        each(&io.merged, "Write", 1)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_read_seconds_total", "Time that reads took, in seconds.", |io| {
        each(&io.time_ns, "Read", SECOND)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_write_seconds_total", "Time that writes took, in seconds.", |io| {
        each(&io.time_ns, "Write", SECOND)
    })
    .by(&["device"]),
    Family::<Io>::counter("container_fs_io_time_seconds_total", "Time that all operations took, in seconds.", |io| {
        each(&io.time_ns, "Total", SECOND)
    })
    .by(&["device"]),
    Family::<Io>::gauge("container_fs_io_current", "Operations in progress.", |io| each(&io.queued, "Total", 1))
        .by(&["device"]),
];

/// A writable layer, and the filesystem that holds it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layer {
    device: String,
    used: u64,
    /// When `used` was measured, in nanoseconds since 1970.
    at: i64,
    capacity: u64,
    inodes: u64,
    free_inodes: u64,
}

impl Layer {
    /// `None` for a layer that was not measured yet, or is gone.
    pub(super) fn read(usage: &FilesystemUsage, mounts: &MountInfo) -> Option<Layer> {
        let used = usage.used_bytes.as_ref()?.value;
        let directory = PathBuf::from(&usage.fs_id.as_ref()?.mountpoint);
        let filesystem = statvfs(&directory).ok()?;
        let number = fs::metadata(&directory).ok()?.dev();
        Some(Layer {
            device: device_of_filesystem(&format!("{}:{}", major(number), minor(number)), mounts),
            used,
            at: usage.timestamp,
            capacity: filesystem.blocks() * filesystem.fragment_size(),
            inodes: filesystem.files(),
            free_inodes: filesystem.files_free(),
        })
    }

    fn value(&self, value: u64) -> Vec<Value> {
        vec![Value::labelled(&[&self.device], value)]
    }
}

/// The name of the device with this number, such as `8:1`: for a filesystem without a disk of its own, what it was mounted
/// from.
fn device_of_filesystem(number: &str, mounts: &MountInfo) -> String {
    let mount = mounts.mounts().find(|mount| mount.device == number.as_bytes());
    mount.map_or_else(|| device(number), |mount| String::from_utf8_lossy(mount.source).into_owned())
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
        "Size of the filesystem of the writable layer, in bytes.",
        |layer| layer.value(layer.capacity),
    )
    .by(&["device"]),
    Family::<Layer>::gauge("container_fs_inodes_total", "Inodes of that filesystem.", |layer| {
        layer.value(layer.inodes)
    })
    .by(&["device"]),
    Family::<Layer>::gauge("container_fs_inodes_free", "Free inodes of that filesystem.", |layer| {
        layer.value(layer.free_inodes)
    })
    .by(&["device"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_without_a_disk_has_the_name_it_was_mounted_from() {
        let mounts = MountInfo::from("31 1 0:27 / /var rw,relatime shared:1 - btrfs /dev/vda2 rw\n");
        assert_eq!(device_of_filesystem("0:27", &mounts), "/dev/vda2");
        assert_eq!(device_of_filesystem("0:28", &mounts), "0:28");
    }

    #[test]
    fn a_layer_that_was_not_measured_yet_has_no_values() {
        assert!(Layer::read(&FilesystemUsage::default(), &MountInfo::default()).is_none());
    }
}
