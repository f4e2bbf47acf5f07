//! Volumes of a Pod on this machine: emptyDir, hostPath, and paths inside a volume (`subPath`).
//!
//! Containers write into volumes, so what lies in one is as untrusted as it is for the kubelet: a path inside a volume is
//! resolved and checked before it is used.

use std::fs;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::directory::Error;
use super::directory::create_dir;
use super::directory::failed;
use super::directory::refused;
use super::tmpfs;
use super::types::EmptyDir;
use super::types::HostPath;
use super::types::HostPathKind;

/// Creates an emptyDir volume at `dir`, if it does not exist. With a group, files created in it belong to the group.
pub(super) fn prepare_empty_dir(dir: &Path, volume: Option<&EmptyDir>, group: Option<u32>) -> Result<(), Error> {
    let is_new = !dir.exists();
    create_dir(dir, 0o777)?;
    let is_mounted = match volume {
        Some(volume) => tmpfs::mount_memory(dir, volume)?,
        None => false,
    };
    // Owner and mode are set once: a container may have changed them since.
    if is_new || is_mounted {
        set_group_and_mode(dir, group)?;
    }
    Ok(())
}

/// Every user may write, as in the kubelet's emptyDirs.
fn set_group_and_mode(dir: &Path, group: Option<u32>) -> Result<(), Error> {
    if let Some(group) = group {
        std::os::unix::fs::chown(dir, None, Some(group)).map_err(failed("set the group of", dir))?;
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(failed("set the mode of", dir))
}

/// Creates what the type of a hostPath volume says, if it is missing, and checks that it has that type.
pub(super) fn prepare_host_path(host_path: &HostPath) -> Result<(), Error> {
    let path = &host_path.path;
    let is_missing = !path.exists();
    match host_path.kind {
        HostPathKind::DirectoryOrCreate if is_missing => create_dir(path, 0o755)?,
        HostPathKind::FileOrCreate if is_missing => {
            // Fails if the file appeared meanwhile, or if its directory is missing: the kubelet does not create it either.
            OpenOptions::new().create_new(true).write(true).open(path).map_err(failed("create", path))?;
        }
        HostPathKind::Unchecked => return Ok(()),
        _ => {}
    }
    let kind = fs::metadata(path).map_err(failed("find", path))?.file_type();
    let (is_valid, expected) = match host_path.kind {
        HostPathKind::Unchecked => (true, "anything"),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => (kind.is_dir(), "a directory"),
        HostPathKind::FileOrCreate | HostPathKind::File => (kind.is_file(), "a file"),
        HostPathKind::Socket => (kind.is_socket(), "a socket"),
        HostPathKind::CharDevice => (kind.is_char_device(), "a character device"),
        HostPathKind::BlockDevice => (kind.is_block_device(), "a block device"),
    };
    if is_valid { Ok(()) } else { refused(path, format!("the manifest says that it is {expected}")) }
}

/// The path `sub` inside a volume, with every symbolic link resolved; a link that leads out of the volume is an error. Missing
/// directories are created with the mode of their parent.
pub(super) fn sub_path(volume: &Path, sub: &Path) -> Result<PathBuf, Error> {
    let root = volume.canonicalize().map_err(failed("find", volume))?;
    let mut dir = root.clone();
    for component in sub.components() {
        let Component::Normal(name) = component else { continue };
        let next = dir.join(name);
        match next.canonicalize() {
            Ok(real) if real.starts_with(&root) => dir = real,
            Ok(_) => return refused(&next, "a symbolic link leads out of the volume"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if next.is_symlink() {
                    return refused(&next, "a symbolic link leads nowhere");
                }
                fs::create_dir(&next).map_err(failed("create the directory", &next))?;
                let mode = fs::metadata(&dir).map_err(failed("find", &dir))?.permissions();
                fs::set_permissions(&next, mode).map_err(failed("set the mode of", &next))?;
                dir = next;
            }
            Err(error) => return Err(failed("find", &next)(error)),
        }
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_host_path_has_to_be_what_the_manifest_says() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        let of = |kind, path: &Path| HostPath { path: path.to_owned(), kind };
        assert!(prepare_host_path(&of(HostPathKind::File, &file)).is_err());
        prepare_host_path(&of(HostPathKind::Unchecked, &file)).unwrap();
        prepare_host_path(&of(HostPathKind::FileOrCreate, &file)).unwrap();
        prepare_host_path(&of(HostPathKind::File, &file)).unwrap();
        prepare_host_path(&of(HostPathKind::CharDevice, Path::new("/dev/null"))).unwrap();
        let error = prepare_host_path(&of(HostPathKind::Directory, &file)).unwrap_err();
        assert!(error.to_string().ends_with("the manifest says that it is a directory"), "{error}");
        assert!(prepare_host_path(&of(HostPathKind::Socket, &file)).is_err());
        assert!(prepare_host_path(&of(HostPathKind::DirectoryOrCreate, &file)).is_err());
    }

    #[test]
    fn a_sub_path_is_created_inside_the_volume() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().canonicalize().unwrap();
        fs::set_permissions(&volume, Permissions::from_mode(0o770)).unwrap();
        assert_eq!(sub_path(&volume, Path::new("a/b")).unwrap(), volume.join("a/b"));
        assert_eq!(mode(&volume.join("a/b")), 0o770);
        fs::write(volume.join("file"), "").unwrap();
        assert_eq!(sub_path(&volume, Path::new("./file")).unwrap(), volume.join("file"));
        symlink("a", volume.join("inside")).unwrap();
        assert_eq!(sub_path(&volume, Path::new("inside/b")).unwrap(), volume.join("a/b"));
    }

    #[test]
    fn a_sub_path_cannot_leave_the_volume() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("volume");
        fs::create_dir(&volume).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("..", volume.join("up")).unwrap();
        symlink("nothing", volume.join("dangling")).unwrap();
        for (path, reason) in
            [("out", "leads out"), ("out/passwd", "leads out"), ("up/x", "leads out"), ("dangling", "leads nowhere")]
        {
            let error = sub_path(&volume, Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(reason), "{path}: {error}");
        }
    }
}
