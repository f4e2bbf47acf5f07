//! emptyDir volumes in memory: mounting and unmounting them.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::path::PathBuf;

use nix::mount::MsFlags;

use super::files::EMPTY_DIR;
use super::files::Error;
use super::files::failed;
use super::types::EmptyDir;
use super::types::Medium;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Mount point and filesystem type of a line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct MountEntry {
    point: PathBuf,
    kind: String,
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
        if mounted.kind == "tmpfs" && mounted.point.parent() == Some(&volumes) {
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
    let text = fs::read(MOUNTINFO).map_err(failed("read", Path::new(MOUNTINFO)))?;
    let dir = real(dir);
    Ok(parse(&text).into_iter().filter(|mounted| mounted.point.starts_with(&dir)).collect())
}

/// mountinfo has real paths, without symbolic links.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// proc_pid_mountinfo(5): the fifth field is the mount point; the field after a lone dash is the filesystem type.
fn parse(mountinfo: &[u8]) -> Vec<MountEntry> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let point = fields.nth(4)?;
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            Some(MountEntry { point: unescape(point), kind: String::from_utf8_lossy(kind).into_owned() })
        })
        .collect()
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_kind() {
        let text = b"22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw\n\
                     30 22 0:26 / /a\\040b\\134c rw - tmpfs tmpfs rw,size=64k\n\
                     31 22 0:27 / /optional rw master:1 propagate_from:2 - ext4 /dev/x rw\nbroken\n";
        let of = |point: &str, kind: &str| MountEntry { point: point.into(), kind: kind.into() };
        assert_eq!(parse(text), [of("/", "overlay"), of("/a b\\c", "tmpfs"), of("/optional", "ext4")]);
    }

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
