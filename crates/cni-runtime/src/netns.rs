//! Pins network namespaces as `ip netns` does: a bind mount of the namespace on a file below `/run/netns`.
//!
//! The namespace then outlives the pod's processes, so that `DEL` finds what `ADD` made, and a person can
//! enter it with `ip netns exec <name>`. The calls block for up to some milliseconds: use
//! `tokio::task::spawn_blocking`.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use nix::mount::MntFlags;
use nix::mount::MsFlags;
use nix::mount::mount;
use nix::mount::umount2;
use nix::sys::statfs::NSFS_MAGIC;
use nix::sys::statfs::statfs;

use super::error::Error;

/// Pins the network namespace of process `pid` as `dir/name` and returns that path.
///
/// Can be repeated. A stale file or another namespace under that name is replaced.
///
/// # Errors
/// [`Error::HostNamespace`] when the process is in the caller's own namespace, as happens if the container's process died
/// and its pid was reused. [`Error::Parameter`] for a bad name, [`Error::Netns`] otherwise.
pub(crate) fn pin(dir: &Path, name: &str, pid: u32) -> Result<PathBuf, Error> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        let reason = "it must be the name of a file";
        return Err(Error::Parameter { what: "namespace name", value: name.to_owned(), reason });
    }
    // The open file refers to the same namespace even if the pid is reused.
    let source = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let namespace = fs::File::open(&source).map_err(failed("open", &source))?;
    let wanted = namespace.metadata().map_err(failed("inspect", &source))?;
    let own = PathBuf::from("/proc/self/ns/net");
    if same(&wanted, &own.metadata().map_err(failed("inspect", &own))?) {
        return Err(Error::HostNamespace { pid });
    }
    let path = dir.join(name);
    let _lock = prepare(dir)?;
    if is_pinned(&path) && path.metadata().is_ok_and(|found| same(&found, &wanted)) {
        return Ok(path);
    }
    unpin(&path)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(failed("create", &path))?;
    let by_descriptor = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    let none = None::<&str>;
    if let Err(errno) = mount(Some(by_descriptor.as_str()), &path, none, MsFlags::MS_BIND, none) {
        let _ = fs::remove_file(&path);
        return Err(failed("mount a network namespace on", &path)(errno.into()));
    }
    Ok(path)
}

/// Pins the network namespace of process `pid` again at a path that [`Cni::pin_netns`](crate::Cni::pin_netns) returned.
///
/// # Errors
/// As [`Cni::pin_netns`](crate::Cni::pin_netns).
pub fn pin_at(path: &Path, pid: u32) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    pin(path.parent().unwrap_or(Path::new("/")), &name, pid).map(|_| ())
}

/// Undoes [`pin`]. The kernel frees the namespace with its last process.
///
/// It is no error if the path is a stale file or does not exist.
///
/// # Errors
/// [`Error::Netns`] when it cannot be unmounted or removed.
pub(crate) fn unpin(path: &Path) -> Result<(), Error> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // There may be several mounts on top of each other.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(failed("unmount", path)(errno.into())),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(failed("remove", path)),
    }
}

/// Whether a namespace is mounted at the path.
pub fn is_pinned(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Whether any process in /proc is in the namespace pinned at `path`. Blocks for some milliseconds.
///
/// # Errors
/// [`Error::Netns`] when the processes cannot be listed.
pub fn is_inhabited(path: &Path) -> Result<bool, Error> {
    if !is_pinned(path) {
        return Ok(false);
    }
    let wanted = path.metadata().map_err(failed("inspect", path))?;
    let processes = fs::read_dir("/proc").map_err(failed("read", Path::new("/proc")))?;
    let namespaces = processes.flatten().filter_map(|process| process.path().join("ns/net").metadata().ok());
    Ok(namespaces.into_iter().any(|namespace| same(&namespace, &wanted)))
}

/// Makes the directory a shared mount point, as `ip netns` does: an unmount must propagate to all mount namespaces, or the
/// network namespace would stay alive in them. The lock, which `ip netns` takes too, is held until the result is dropped.
fn prepare(dir: &Path) -> Result<Flock<fs::File>, Error> {
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let handle = fs::File::open(dir).map_err(failed("open", dir))?;
    let lock = Flock::lock(handle, FlockArg::LockExclusive).map_err(|(_, errno)| failed("lock", dir)(errno.into()))?;
    let none = None::<&str>;
    let share = || mount(none, dir, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    let shared = match share() {
        // It is not a mount point yet.
        Err(Errno::EINVAL) => {
            mount(Some(dir), dir, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).and_then(|()| share())
        }
        outcome => outcome,
    };
    shared.map_err(|errno| failed("share the mounts of", dir)(errno.into()))?;
    Ok(lock)
}

fn same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Netns { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pause;
    use crate::testing::eventually;
    use crate::testing::on_another_machine;
    use crate::testing::run;

    #[test]
    fn a_pinned_namespace_outlives_its_process_and_can_be_entered_by_name() {
        let name = "a_pinned_namespace_outlives_its_process_and_can_be_entered_by_name";
        on_another_machine(module_path!(), name, || {
            let dir = Path::new("/run/netns");
            let pause = Pause::start();
            run("nsenter", &["-t", &pause.pid().to_string(), "-n", "ip", "link", "add", "mark", "type", "bridge"]);
            let path = pin(dir, "pod", pause.pid()).unwrap();
            assert_eq!(path, dir.join("pod"));
            assert_eq!(pin(dir, "pod", pause.pid()).unwrap(), path, "it may be repeated");
            assert!(is_pinned(&path));
            assert!(run("ip", &["netns", "list"]).contains("pod"));
            assert!(is_inhabited(&path).unwrap());
            drop(pause);
            assert!(!is_inhabited(&path).unwrap());
            assert!(run("ip", &["netns", "exec", "pod", "ip", "link"]).contains("mark"));
            // As `ip netns` does it: exactly one mount, and it is shared.
            let mounts = run("findmnt", &["--noheadings", "--output", "TARGET,PROPAGATION", "/run/netns"]);
            assert_eq!(mounts.lines().count(), 1, "{mounts}");
            assert!(mounts.contains("shared"), "{mounts}");
            run("ip", &["netns", "add", "other"]);
            unpin(&path).unwrap();
            unpin(&path).unwrap();
            assert!(!path.exists() && !is_pinned(&path));
            assert_eq!(run("ip", &["netns", "list"]).trim(), "other");
        });
    }

    #[test]
    fn a_name_that_is_taken_is_taken_over() {
        on_another_machine(module_path!(), "a_name_that_is_taken_is_taken_over", || {
            let dir = Path::new("/run/netns");
            let (one, two) = (Pause::start(), Pause::start());
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("pod"), "left over").unwrap();
            assert!(!is_pinned(&dir.join("pod")));
            let ids = |path: &Path| path.metadata().unwrap().ino();
            for pause in [&one, &two] {
                let path = pin(dir, "pod", pause.pid()).unwrap();
                let its = PathBuf::from(format!("/proc/{}/ns/net", pause.pid()));
                assert_eq!(ids(&path), ids(&its));
            }
            fs::write(dir.join("stale"), "").unwrap();
            unpin(&dir.join("stale")).unwrap();
            assert!(!dir.join("stale").exists());
        });
    }

    #[test]
    fn pins_made_at_the_same_time_do_not_stack_mounts() {
        on_another_machine(module_path!(), "pins_made_at_the_same_time_do_not_stack_mounts", || {
            let pauses: Vec<Pause> = (0..8).map(|_| Pause::start()).collect();
            std::thread::scope(|scope| {
                for (number, pause) in pauses.iter().enumerate() {
                    scope.spawn(move || pin(Path::new("/run/netns"), &format!("p{number}"), pause.pid()).unwrap());
                }
            });
            let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let mounts = text.lines().filter(|line| line.split(' ').nth(4) == Some("/run/netns")).count();
            assert_eq!(mounts, 1, "{text}");
            for number in 0..8 {
                unpin(&Path::new("/run/netns").join(format!("p{number}"))).unwrap();
            }
            assert_eq!(fs::read_dir("/run/netns").unwrap().count(), 0);
        });
    }

    #[test]
    fn a_namespace_ends_with_its_pin_and_its_process() {
        on_another_machine(module_path!(), "a_namespace_ends_with_its_pin_and_its_process", || {
            let pause = Pause::start();
            let pid = pause.pid().to_string();
            // The other end of the pair is in the namespace, and goes with it.
            run("ip", &["link", "add", "outside", "type", "veth", "peer", "name", "inside", "netns", &pid]);
            let path = pin(Path::new("/run/netns"), "pod", pause.pid()).unwrap();
            drop(pause);
            assert!(run("ip", &["link"]).contains("outside"));
            unpin(&path).unwrap();
            eventually("the pair is gone", || !run("ip", &["link"]).contains("outside"));
        });
    }

    #[test]
    fn the_nodes_own_namespace_is_not_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let error = pin(dir.path(), "pod", std::process::id()).unwrap_err();
        assert!(matches!(error, Error::HostNamespace { .. }), "{error}");
        let error = pin(dir.path(), "../pod", 1).unwrap_err();
        assert!(matches!(error, Error::Parameter { .. }), "{error}");
        let error = pin(dir.path(), "pod", u32::MAX).unwrap_err();
        assert!(matches!(error, Error::Netns { action: "open", .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
