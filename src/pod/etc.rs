//! The files in `/etc` that all containers of a pod see: `resolv.conf`, `hosts` and `hostname`.
//!
//! For a pod with its own network, Dockside writes these files and mounts them into the pause container. Docker gives the
//! same mounts to every container that joins the pause container's network, also to one that a user starts with
//! `--network container:`. After a restart with `live-restore`, Docker instead looks for them in its own directory of the
//! pause container, so they are linked there too. A pod on the host's network has the files that Docker copies from the
//! host.

use std::fs;
use std::fs::DirBuilder;
use std::fs::Permissions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::docker::request::Mount;
use crate::docker::request::MountType;
use crate::error::Error;
use crate::proto::DnsConfig;
use crate::proto::PodSandboxConfig;
use crate::state::SandboxRecord;

const RESOLV_CONF: &str = "resolv.conf";
const HOSTS: &str = "hosts";
const HOSTNAME: &str = "hostname";
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// With systemd-resolved, the host's file names only this address, which a pod cannot reach.
const RESOLVED_STUB: &str = "127.0.0.53";
/// The servers that systemd-resolved forwards to (systemd-resolved.service(8)).
const RESOLVED_SERVERS: &str = "/run/systemd/resolve/resolv.conf";
/// The first lines of every `hosts` (hosts(5)).
const LOOPBACK: &str = "\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";
/// The length of the id prefix that Docker uses as host name of a container without one.
const SHORT_ID: usize = 12;

/// The files of one pod, in a directory of their own.
#[derive(Debug, Clone)]
pub(super) struct Etc(PathBuf);

impl Etc {
    pub(super) fn new(directory: PathBuf) -> Etc {
        Etc(directory)
    }

    /// Makes the files with what is known before the pause container exists.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) async fn make(&self, config: &PodSandboxConfig) -> Result<(), Error> {
        let (files, hostname) = (self.clone(), config.hostname.clone());
        let dns = config.dns_config.clone().filter(has_settings);
        self.blocking(move || {
            DirBuilder::new().recursive(true).mode(0o755).create(&files.0)?;
            files.write(RESOLV_CONF, &dns.as_ref().map_or_else(host_resolv_conf, render))?;
            files.write(HOSTS, LOOPBACK)?;
            files.write(HOSTNAME, &line(&hostname))
        })
        .await
    }

    /// Adds the pod's name and addresses. `docker` is Docker's directory of the pause container.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) async fn complete(&self, record: &SandboxRecord, docker: &Path) -> Result<(), Error> {
        let given = record.config.hostname.as_str();
        let name = if given.is_empty() { record.id.get(..SHORT_ID).unwrap_or(&record.id) } else { given }.to_owned();
        let ips = record.network.as_ref().map(|network| network.ips.clone()).unwrap_or_default();
        let (files, docker, named) = (self.clone(), docker.to_owned(), !given.is_empty());
        self.blocking(move || {
            fs::write(files.0.join(HOSTS), hosts(&ips, &name))?;
            if !named {
                fs::write(files.0.join(HOSTNAME), line(&name))?;
            }
            [HOSTS, RESOLV_CONF].iter().try_for_each(|file| link(&files.0.join(file), &docker.join(file)))
        })
        .await
    }

    /// The mounts of the pause container.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let mount = |name: &&str| Mount {
            kind: MountType::Bind,
            source: self.0.join(name).display().to_string(),
            target: format!("/etc/{name}"),
            read_only: true,
            bind_options: None,
            image_options: None,
        };
        [RESOLV_CONF, HOSTS, HOSTNAME].iter().map(mount).collect()
    }

    /// Writes a file that every user in the pod can read. Later writes are in place, as a bind mount follows the inode.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))
    }

    async fn blocking(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), Error> {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|source| Error::Io { doing: "write the pod's files in", path: self.0.clone(), source })
    }
}

/// Makes a hard link, or a copy where that is not possible, such as on another file system.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    // Copying a file onto a hard link of itself would empty it.
    let _ = fs::remove_file(to);
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

/// The host's file, for a pod without DNS settings. Servers on loopback are left out if there are others: a pod has its
/// own loopback.
fn host_resolv_conf() -> String {
    let own = fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    let with_resolved = servers(&own).any(|server| server == RESOLVED_STUB);
    let behind = || with_resolved.then(|| fs::read_to_string(RESOLVED_SERVERS).ok()).flatten();
    reachable(&own).or_else(behind).unwrap_or(own)
}

/// The text without the servers that a pod cannot reach; `None` if no server is left.
fn reachable(text: &str) -> Option<String> {
    servers(text).any(|server| !is_loopback(server)).then(|| {
        let kept = text.lines().filter(|line| !server(line).is_some_and(is_loopback));
        kept.map(|line| format!("{line}\n")).collect()
    })
}

fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(server)
}

/// The server that a line of a resolv.conf names.
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())
}

fn is_loopback(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn hosts(ips: &[IpAddr], name: &str) -> String {
    let own: String = ips.iter().map(|ip| format!("{ip}\t{name}\n")).collect();
    format!("{LOOPBACK}{own}")
}

fn line(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// The text of a resolv.conf (resolv.conf(5)).
fn render(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

/// Refuses values that would become another line of the file.
pub(super) fn check(pod: &str, dns: &DnsConfig) -> Result<(), Error> {
    let all = dns.servers.iter().chain(&dns.searches).chain(&dns.options);
    match all.into_iter().find(|value| value.contains(['\n', '\r', '\0'])) {
        Some(value) => Err(Error::invalid(pod, "dns_config", format!("{value:?} contains a line break"))),
        None => Ok(()),
    }
}

/// Rewrites Docker's `resolv.conf` of a pod on the host's network, in place, as a bind mount follows the inode.
///
/// # Errors
/// If the file cannot be written.
pub(super) async fn write(path: &Path, dns: &DnsConfig) -> Result<(), Error> {
    tokio::fs::write(path, render(dns)).await.map_err(|source| Error::Io {
        doing: "write the pod's resolv.conf",
        path: path.to_owned(),
        source,
    })
}

/// Whether there are any settings; without, the pod gets the host's.
pub(super) fn has_settings(dns: &DnsConfig) -> bool {
    !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::NetworkRecord;
    use crate::state::Record;

    #[test]
    fn resolv_conf_has_the_settings_of_the_pod_and_nothing_else() {
        let dns = DnsConfig {
            servers: vec!["10.10.10.10".into(), "10.10.10.11".into()],
            searches: vec!["google.com".into(), "a.b".into()],
            options: vec!["ndots:8".into()],
        };
        let expected = "search google.com a.b\nnameserver 10.10.10.10\nnameserver 10.10.10.11\noptions ndots:8\n";
        assert_eq!(render(&dns), expected);
    }

    #[test]
    fn a_line_break_cannot_inject_another_setting() {
        let dns = DnsConfig { servers: vec!["1.1.1.1\nnameserver 6.6.6.6".into()], ..Default::default() };
        assert!(check("pod a/b", &dns).is_err());
    }

    #[tokio::test]
    async fn completed_files_have_the_pods_name_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let etc = Etc::new(dir.path().join("etc/key"));
        let dns = DnsConfig { servers: vec!["192.0.2.53".into()], ..Default::default() };
        let config = PodSandboxConfig { dns_config: Some(dns), ..Default::default() };
        etc.make(&config).await.unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join("etc/key").join(name)).unwrap();
        assert_eq!(read(RESOLV_CONF), "nameserver 192.0.2.53\n");
        assert!(read(HOSTS).contains("localhost"));
        let network = NetworkRecord {
            name: "n".into(),
            ips: vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            released: false,
        };
        let record = SandboxRecord::creating("k8s_POD".into(), 1, config);
        let mut record = SandboxRecord { id: "0123456789abcdef".into(), network: Some(network), ..record };
        let docker = dir.path().join("docker");
        fs::create_dir(&docker).unwrap();
        etc.complete(&record, &docker).await.unwrap();
        assert_eq!(read(HOSTNAME), "0123456789ab\n");
        assert!(read(HOSTS).ends_with("10.88.0.2\t0123456789ab\nfd00::2\t0123456789ab\n"));
        record.config.hostname = "web".into();
        for file in [RESOLV_CONF, HOSTS] {
            assert_eq!(fs::read_to_string(docker.join(file)).unwrap(), read(file));
        }
        etc.make(&record.config).await.unwrap();
        etc.complete(&record, &docker).await.unwrap();
        assert!(read(HOSTS).ends_with("10.88.0.2\tweb\nfd00::2\tweb\n"));
        assert_eq!(read(HOSTNAME), "web\n");
        let mode = fs::metadata(dir.path().join("etc/key/hosts")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn servers_on_the_hosts_loopback_are_left_out() {
        assert_eq!(reachable("# comment\nnameserver 127.0.0.53\noptions edns0\n"), None);
        assert_eq!(reachable("search a.example\n"), None);
        let both = "search a.example\nnameserver 127.0.0.1\nnameserver\t192.0.2.1\nnameserver ::1\n";
        assert_eq!(reachable(both).unwrap(), "search a.example\nnameserver\t192.0.2.1\n");
    }
}
