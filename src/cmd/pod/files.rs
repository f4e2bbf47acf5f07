//! The files of a Pod on this machine: volumes, logs, /etc/hosts, termination messages.
//!
//! Everything but logs lies in one directory per Pod, named after its UID and laid out as the kubelet's is. What a container sees
//! below it is trusted no further than the kubelet trusts it: paths into volumes are resolved and checked before use.

#[cfg(test)]
mod tests;

use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::manifest::Container;
use super::manifest::HostPath;
use super::manifest::HostPathKind;
use super::manifest::Pod;
use super::manifest::Propagation;
use super::mounts;
use super::translate;
use crate::proto::Mount;
use crate::proto::MountPropagation;

/// Where emptyDir volumes lie below the Pod's directory: the kubelet's name for the kind of volume.
pub(super) const EMPTY_DIR: &str = "volumes/kubernetes.io~empty-dir";

/// How much of a termination message is read, in bytes: the kubelet's limit.
const MESSAGE_MAX: u64 = 4096;
/// How much of the end of a log stands in for a message: less than the kubelet's 80 lines, a person reads it.
const LOG_LINES: usize = 10;
/// How much of the end of a log is looked at, in bytes.
const LOG_TAIL: u64 = 2048;

/// Something with a file that did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// We refuse.
    #[error("could not use {}: {reason}", path.display())]
    Refused {
        /// Which path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// For `map_err`: what was tried, with which path.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

fn refused<T>(path: &Path, reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused { path: path.to_owned(), reason: reason.into() })
}

/// The directories in which Pods have theirs.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// Where volumes and other files of pods are kept, by UID
    #[arg(long = "pods-dir", value_name = "DIR", default_value = "/var/lib/dockside/pods")]
    pub pods: PathBuf,
    /// Where the logs of pods are kept
    #[arg(long = "logs-dir", value_name = "DIR", default_value = "/var/log/pods")]
    pub logs: PathBuf,
}

impl Places {
    /// The directory of a Pod's files.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    /// The directory of a Pod's logs.
    pub fn log(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs.join(format!("{namespace}_{name}_{uid}"))
    }
}

/// The files of one Pod.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    pod: &'a Pod,
    /// The Pod's directory.
    pub dir: PathBuf,
    /// The directory of its logs.
    pub logs: PathBuf,
}

impl<'a> Files<'a> {
    /// The files of `pod`; nothing is made yet.
    pub fn of(pod: &'a Pod, places: &Places) -> Files<'a> {
        let metadata = &pod.metadata;
        let logs = places.log(&metadata.namespace, &metadata.name, &metadata.uid);
        Files { pod, dir: places.pod(&metadata.uid), logs }
    }

    /// Makes the directories and the volumes. Good to repeat: what is there stays.
    ///
    /// # Errors
    /// The volume or directory that could not be made, or is not what the manifest says.
    pub fn prepare(&self) -> Result<(), Error> {
        make_dir(&self.dir, 0o750)?;
        make_dir(&self.logs, 0o755)?;
        for container in self.pod.spec.all_containers() {
            make_dir(&self.logs.join(&container.name), 0o755)?;
        }
        for volume in &self.pod.spec.volumes {
            match &volume.host_path {
                Some(host_path) => prepare_host_path(host_path)?,
                None => self.prepare_empty_dir(&volume.name)?,
            }
        }
        Ok(())
    }

    /// Where a volume is on this machine.
    pub fn volume(&self, name: &str) -> PathBuf {
        let volume = self.pod.spec.volumes.iter().find(|volume| volume.name == name);
        match volume.and_then(|volume| volume.host_path.as_ref()) {
            Some(host_path) => host_path.path.clone(),
            None => self.dir.join(EMPTY_DIR).join(name),
        }
    }

    fn prepare_empty_dir(&self, name: &str) -> Result<(), Error> {
        let dir = self.volume(name);
        let is_new = !dir.exists();
        make_dir(&dir, 0o777)?;
        let volume = self.pod.spec.volumes.iter().find(|volume| volume.name == name);
        let mounted = match volume.and_then(|volume| volume.empty_dir.as_ref()) {
            Some(empty_dir) => mounts::mount_memory(&dir, empty_dir)?,
            None => false,
        };
        // Also the directory of a fresh tmpfs; one that a container has used keeps what it made of it.
        if is_new || mounted {
            self.give_to_group(&dir)?;
        }
        Ok(())
    }

    /// Anyone may write; with an fsGroup, what is made in it belongs to that group.
    fn give_to_group(&self, dir: &Path) -> Result<(), Error> {
        let group = self.pod.spec.security_context.fs_group.and_then(|group| u32::try_from(group).ok());
        if let Some(group) = group {
            std::os::unix::fs::chown(dir, None, Some(group)).map_err(failed("give to its group", dir))?;
        }
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(failed("set the mode of", dir))
    }

    /// Writes the Pod's /etc/hosts and returns where it is. On the host's network it is a copy of the host's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_hosts(&self, ips: &[String], of_host: &str) -> Result<PathBuf, Error> {
        let text = if self.pod.spec.host_network {
            format!("{HOSTS_HEADER}{of_host}")
        } else {
            hosts(ips, &translate::hostname(self.pod))
        };
        let path = self.dir.join("etc-hosts");
        fs::write(&path, text).map_err(failed("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(failed("set the mode of", &path))?;
        Ok(path)
    }

    /// What a container sees of this machine. `hosts` is the Pod's /etc/hosts.
    ///
    /// # Errors
    /// A path that leads out of its volume, or cannot be made.
    pub fn mounts(&self, container: &Container, attempt: u32, hosts: &Path) -> Result<Vec<Mount>, Error> {
        let mut mounts = Vec::new();
        for mount in &container.volume_mounts {
            let volume = self.volume(&mount.name);
            let inside =
                if mount.sub_path.as_os_str().is_empty() { volume } else { sub_path(&volume, &mount.sub_path)? };
            mounts.push(Mount {
                container_path: absolute(&mount.mount_path),
                readonly: mount.read_only,
                propagation: propagation(mount.mount_propagation).into(),
                ..to_host(&inside)
            });
        }
        if !mounts.iter().any(|mount| mount.container_path == "/etc/hosts") {
            mounts.push(Mount { container_path: "/etc/hosts".into(), ..to_host(hosts) });
        }
        let message = self.make_message(container, attempt)?;
        mounts.push(Mount { container_path: container.termination_message_path.clone(), ..to_host(&message) });
        Ok(mounts)
    }

    fn message(&self, container: &Container, attempt: u32) -> PathBuf {
        self.dir.join("containers").join(&container.name).join(attempt.to_string())
    }

    /// An empty file that any user in the container can write.
    fn make_message(&self, container: &Container, attempt: u32) -> Result<PathBuf, Error> {
        let path = self.message(container, attempt);
        make_dir(&self.dir.join("containers").join(&container.name), 0o750)?;
        OpenOptions::new().create(true).truncate(true).write(true).open(&path).map_err(failed("create", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o666)).map_err(failed("set the mode of", &path))?;
        Ok(path)
    }

    /// What an ended container left to say: its termination message, or else the end of its log. May be empty.
    pub fn last_words(&self, container: &Container, attempt: u32) -> String {
        let said = read_start(&self.message(container, attempt), MESSAGE_MAX).unwrap_or_default().trim().to_owned();
        if !said.is_empty() {
            return said;
        }
        log_end(&read_end(&self.logs.join(translate::log_path(container, attempt)), LOG_TAIL).unwrap_or_default())
    }
}

fn read_start(path: &Path, bytes: u64) -> io::Result<String> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(bytes).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn read_end(path: &Path, bytes: u64) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(bytes);
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    // The first line may have lost its beginning.
    let whole = if from == 0 { &text[..] } else { text.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default() };
    Ok(String::from_utf8_lossy(whole).into_owned())
}

/// The text of the last lines, without what the log format puts before them.
fn log_end(log: &str) -> String {
    let text = |line: &str| Some(line.splitn(4, ' ').nth(3)?.to_owned());
    let lines: Vec<String> = log.lines().filter_map(text).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Removes the files and logs of a Pod; returns whether there were any. Memory volumes are unmounted.
///
/// # Errors
/// When something else is mounted below the directory: removing would reach through it.
pub fn remove(places: &Places, namespace: &str, name: &str, uid: &str) -> Result<bool, Error> {
    let dir = places.pod(uid);
    let mut found = false;
    if dir.exists() {
        mounts::unmount_below(&dir)?;
        fs::remove_dir_all(&dir).map_err(failed("remove", &dir))?;
        found = true;
    }
    let logs = places.log(namespace, name, uid);
    match fs::remove_dir_all(&logs) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(found),
        Err(error) => Err(failed("remove", &logs)(error)),
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed("create the directory", path))
}

/// Makes and checks what a hostPath volume promises.
fn prepare_host_path(host_path: &HostPath) -> Result<(), Error> {
    let path = &host_path.path;
    let is_missing = !path.exists();
    match host_path.kind {
        HostPathKind::DirectoryOrCreate if is_missing => make_dir(path, 0o755)?,
        HostPathKind::FileOrCreate if is_missing => {
            // Never over something that appeared since, and never making its directory: the kubelet does not either.
            OpenOptions::new().create_new(true).write(true).open(path).map_err(failed("create", path))?;
        }
        HostPathKind::Unchecked => return Ok(()),
        _ => {}
    }
    let kind = fs::metadata(path).map_err(failed("find", path))?.file_type();
    let (fits, wanted) = match host_path.kind {
        HostPathKind::Unchecked => (true, "anything"),
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => (kind.is_dir(), "a directory"),
        HostPathKind::FileOrCreate | HostPathKind::File => (kind.is_file(), "a file"),
        HostPathKind::Socket => (kind.is_socket(), "a socket"),
        HostPathKind::CharDevice => (kind.is_char_device(), "a character device"),
        HostPathKind::BlockDevice => (kind.is_block_device(), "a block device"),
    };
    if fits { Ok(()) } else { refused(path, format!("the manifest says that it is {wanted}")) }
}

/// A path inside a volume, with every symbolic link on the way resolved and none of them leading out. Directories that are
/// missing are made, with the mode of the one they are in.
fn sub_path(volume: &Path, sub: &Path) -> Result<PathBuf, Error> {
    let root = volume.canonicalize().map_err(failed("find", volume))?;
    let mut place = root.clone();
    for component in sub.components() {
        let Component::Normal(name) = component else { continue };
        let next = place.join(name);
        match next.canonicalize() {
            Ok(real) if real.starts_with(&root) => place = real,
            Ok(_) => return refused(&next, "a symbolic link leads out of the volume"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if next.is_symlink() {
                    return refused(&next, "a symbolic link leads nowhere");
                }
                fs::create_dir(&next).map_err(failed("create the directory", &next))?;
                let mode = fs::metadata(&place).map_err(failed("find", &place))?.permissions();
                fs::set_permissions(&next, mode).map_err(failed("set the mode of", &next))?;
                place = next;
            }
            Err(error) => return Err(failed("find", &next)(error)),
        }
    }
    Ok(place)
}

fn to_host(path: &Path) -> Mount {
    Mount { host_path: path.display().to_string(), ..Default::default() }
}

/// The API allows paths that are meant from the root.
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn propagation(propagation: Propagation) -> MountPropagation {
    match propagation {
        Propagation::None => MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => MountPropagation::PropagationBidirectional,
    }
}

const HOSTS_HEADER: &str = "# Kubernetes-managed hosts file, written by dockside pod.\n";

/// The usual names of loopback and of IPv6's groups, and the Pod's own.
fn hosts(ips: &[String], hostname: &str) -> String {
    let mut text = format!(
        "{HOSTS_HEADER}\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         fe00::\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n"
    );
    for ip in ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    text
}
