//! emptyDir volumes in memory: mounting and unmounting them.

use std::path::Path;
use std::path::PathBuf;

use nix::mount::MsFlags;

use crate::cgroup::Mount;
use crate::cgroup::MountInfo;

use super::directory::EMPTY_DIR;
use super::directory::Error;
use super::directory::failed;
use super::types::EmptyDir;
use super::types::Medium;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Debug, PartialEq, Eq)]
struct MountEntry {
    point: PathBuf,
    is_tmpfs: bool,
}

/// Mounts a tmpfs at `dir` if the volume is in memory and nothing is mounted there; returns whether it did.
pub(super) fn mount_memory(dir: &Path, volume: &EmptyDir) -> Result<bool, Error> {
    if volume.medium != Medium::Memory || below(dir)?.iter().any(|mounted| mounted.point == real(dir)) {
        return Ok(false);
    }
    // Without a size the kernel allows half of the machine's memory.
    let options = volume.size_limit.map(|size| format!("size={}", size.value()));
    nix::mount::mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options.as_deref())
        .map_err(|error| failed("mount a tmpfs at", dir)(error.into()))?;
    Ok(true)
}

/// Unmounts the memory volumes of the Pod with this directory.
///
/// Any other mount below it is an error: a container with mount propagation may have created it, and the files that it leads
/// to must not be removed.
pub(super) fn unmount_below(dir: &Path) -> Result<(), Error> {
    let volumes = real(dir).join(EMPTY_DIR);
    for mounted in below(dir)? {
        if mounted.is_tmpfs && mounted.point.parent() == Some(&volumes) {
            let point = &mounted.point;
            nix::mount::umount(point).map_err(|error| failed("unmount", point)(error.into()))?;
        }
    }
    match below(dir)?.into_iter().next() {
        None => Ok(()),
        Some(left) => {
            Err(Error::Refused { path: dir.to_owned(), reason: format!("{} is still mounted", left.point.display()) })
        }
    }
}

/// The mounts at or below a directory.
fn below(dir: &Path) -> Result<Vec<MountEntry>, Error> {
    let mounts = MountInfo::read_own().map_err(failed("read", Path::new(MOUNTINFO)))?;
    let dir = real(dir);
    let entry = |mount: Mount<'_>| MountEntry { point: mount.point(), is_tmpfs: mount.filesystem == b"tmpfs" };
    Ok(mounts.mounts().map(entry).filter(|mounted| mounted.point.starts_with(&dir)).collect())
}

/// mountinfo has real paths, without symbolic links.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_mounted_below_a_fresh_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(below(dir.path()).unwrap(), []);
        unmount_below(dir.path()).unwrap();
        assert!(!mount_memory(dir.path(), &EmptyDir::default()).unwrap());
    }

    #[test]
    fn a_mount_that_is_not_ours_is_left_alone() {
        // /proc is mounted wherever tests run.
        let error = unmount_below(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("is still mounted"), "{error}");
    }
}
