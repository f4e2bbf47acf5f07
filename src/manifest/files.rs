//! The files of a Pod on this machine: its directories, /etc/hosts, termination messages, and the mounts of its containers.
//!
//! Everything but the logs is in one directory per Pod, named by its UID and laid out as the kubelet's pod directories are.

#[cfg(test)]
mod tests;

use std::fs;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use super::directory::EMPTY_DIR;
use super::directory::Error;
use super::directory::create_dir;
use super::directory::failed;
use super::tmpfs;
use super::translate;
use super::types::Container;
use super::types::Pod;
use super::types::Propagation;
use super::volumes;
use crate::proto::Mount;
use crate::proto::MountPropagation;

/// The longest termination message, in bytes: the kubelet's limit.
const MESSAGE_MAX: u64 = 4096;
/// Lines at the end of the log that stand in for a termination message: fewer than the kubelet's 80, to fit a terminal.
const LOG_LINES: usize = 10;
/// Bytes at the end of the log among which these lines are.
const LOG_TAIL: u64 = 2048;

/// The directories below which each Pod has its own.
#[derive(Clone, Debug)]
pub(crate) struct PodDirs {
    /// Volumes and other files; a Pod's directory in it is named by its UID.
    pub pods: PathBuf,
    /// Logs; a Pod's directory in it is NAMESPACE_NAME_UID.
    pub logs: PathBuf,
}

impl PodDirs {
    /// The directory of a Pod's files.
    pub(super) fn pod(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    /// The directory of a Pod's logs.
    pub(super) fn log(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs.join(format!("{namespace}_{name}_{uid}"))
    }
}

/// The files of one Pod.
#[derive(Clone, Debug)]
pub(super) struct Files<'a> {
    pod: &'a Pod,
    /// The Pod's directory.
    pub(super) dir: PathBuf,
    /// The directory of its logs.
    pub(super) logs: PathBuf,
}

impl<'a> Files<'a> {
    /// The files of `pod`; none is created yet.
    pub(super) fn of(pod: &'a Pod, dirs: &PodDirs) -> Files<'a> {
        let metadata = &pod.metadata;
        let logs = dirs.log(&metadata.namespace, &metadata.name, &metadata.uid);
        Files { pod, dir: dirs.pod(&metadata.uid), logs }
    }

    /// Creates the directories and the volumes. It can be repeated: existing ones stay as they are.
    ///
    /// # Errors
    /// The volume or directory that cannot be created, or is not what the manifest says.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        create_dir(&self.dir, 0o750)?;
        create_dir(&self.logs, 0o755)?;
        for container in self.pod.spec.all_containers() {
            create_dir(&self.logs.join(&container.name), 0o755)?;
        }
        for volume in &self.pod.spec.volumes {
            match &volume.host_path {
                Some(host_path) => volumes::prepare_host_path(host_path)?,
                None => {
                    volumes::prepare_empty_dir(&self.volume(&volume.name), volume.empty_dir.as_ref(), self.group())?;
                }
            }
        }
        Ok(())
    }

    /// The group that owns volumes.
    fn group(&self) -> Option<u32> {
        self.pod.spec.security_context.fs_group.and_then(|group| u32::try_from(group).ok())
    }

    /// The path of a volume on this machine.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        let volume = self.pod.spec.volumes.iter().find(|volume| volume.name == name);
        match volume.and_then(|volume| volume.host_path.as_ref()) {
            Some(host_path) => host_path.path.clone(),
            None => self.dir.join(EMPTY_DIR).join(name),
        }
    }

    /// Writes the Pod's /etc/hosts and returns its path. With hostNetwork it is a copy of the host's file, `host_file`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_hosts(&self, ips: &[String], host_file: &str) -> Result<PathBuf, Error> {
        let text = if self.pod.spec.host_network {
            format!("{HOSTS_HEADER}{host_file}")
        } else {
            hosts(ips, &translate::hostname(self.pod))
        };
        let path = self.dir.join("etc-hosts");
        fs::write(&path, text).map_err(failed("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(failed("set the mode of", &path))?;
        Ok(path)
    }

    /// The mounts of a container: its volumes, /etc/hosts from the file `hosts`, and an empty termination message.
    ///
    /// # Errors
    /// A path that leads out of its volume, or cannot be created.
    pub(super) fn mounts(&self, container: &Container, attempt: u32, hosts: &Path) -> Result<Vec<Mount>, Error> {
        let mut mounts = Vec::new();
        for mount in &container.volume_mounts {
            let volume = self.volume(&mount.name);
            let inside = if mount.sub_path.as_os_str().is_empty() {
                volume
            } else {
                volumes::sub_path(&volume, &mount.sub_path)?
            };
            mounts.push(Mount {
                container_path: absolute(&mount.mount_path),
                readonly: mount.read_only,
                propagation: propagation(mount.mount_propagation).into(),
                ..mount_of(&inside)
            });
        }
        if !mounts.iter().any(|mount| mount.container_path == "/etc/hosts") {
            mounts.push(Mount { container_path: "/etc/hosts".into(), ..mount_of(hosts) });
        }
        let message = self.create_message(container, attempt)?;
        mounts.push(Mount { container_path: container.termination_message_path.clone(), ..mount_of(&message) });
        Ok(mounts)
    }

    fn message_path(&self, container: &Container, attempt: u32) -> PathBuf {
        self.dir.join("containers").join(&container.name).join(attempt.to_string())
    }

    /// Creates an empty file that every user in the container can write.
    fn create_message(&self, container: &Container, attempt: u32) -> Result<PathBuf, Error> {
        let path = self.message_path(container, attempt);
        create_dir(&self.dir.join("containers").join(&container.name), 0o750)?;
        OpenOptions::new().create(true).truncate(true).write(true).open(&path).map_err(failed("create", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o666)).map_err(failed("set the mode of", &path))?;
        Ok(path)
    }

    /// The termination message of an exited container, or else the last lines of its log. It may be empty.
    pub(super) fn termination_message(&self, container: &Container, attempt: u32) -> String {
        let message = read_start(&self.message_path(container, attempt), MESSAGE_MAX).unwrap_or_default();
        if !message.trim().is_empty() {
            return message.trim().to_owned();
        }
        last_lines(&read_end(&self.logs.join(translate::log_path(container, attempt)), LOG_TAIL).unwrap_or_default())
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
    // The first line may be cut.
    let whole = if from == 0 { &text[..] } else { text.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default() };
    Ok(String::from_utf8_lossy(whole).into_owned())
}

/// The text of the last lines of a CRI log, without time, stream and tag.
fn last_lines(log: &str) -> String {
    let text = |line: &str| Some(line.splitn(4, ' ').nth(3)?.to_owned());
    let lines: Vec<String> = log.lines().filter_map(text).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Unmounts memory volumes and removes the files and logs of a Pod; returns whether there were any.
///
/// # Errors
/// When anything else is mounted below the directory: its files would be removed, too.
pub(super) fn remove(dirs: &PodDirs, namespace: &str, name: &str, uid: &str) -> Result<bool, Error> {
    let dir = dirs.pod(uid);
    let mut found = false;
    if dir.exists() {
        tmpfs::unmount_below(&dir)?;
        fs::remove_dir_all(&dir).map_err(failed("remove", &dir))?;
        found = true;
    }
    let logs = dirs.log(namespace, name, uid);
    match fs::remove_dir_all(&logs) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(found),
        Err(error) => Err(failed("remove", &logs)(error)),
    }
}

fn mount_of(path: &Path) -> Mount {
    Mount { host_path: path.display().to_string(), ..Default::default() }
}

/// The API allows relative mount paths, which start at the root.
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

/// The kubelet's /etc/hosts: names of loopback and of IPv6 groups, and the Pod's addresses.
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
