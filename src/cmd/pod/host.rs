//! What `dockside pod` has to know about the machine.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::proto::DnsConfig;

/// Facts about this machine. Read once, so that translating a Pod needs no machine.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// All its memory, in bytes.
    pub memory: i64,
    /// Whether the kernel counts swap for each cgroup, so that it can be limited.
    pub counts_swap: bool,
    /// Its own /etc/hosts.
    pub hosts: String,
    /// Its resolver.
    pub resolver: DnsConfig,
    /// The servers behind a resolver on loopback, if they are known.
    pub upstream: Option<DnsConfig>,
}

impl Host {
    /// Reads the facts from the filesystem below `root`, which is `/` but for tests.
    ///
    /// # Errors
    /// The file that cannot be read, and why.
    pub fn read(root: &Path) -> Result<Host, (PathBuf, io::Error)> {
        let read = |path: &str| {
            let path = root.join(path);
            fs::read_to_string(&path).map_err(|source| (path, source))
        };
        Ok(Host {
            memory: memory(&read("proc/meminfo")?),
            counts_swap: counts_swap(&root.join("sys/fs/cgroup")),
            // A machine can do without either.
            hosts: read("etc/hosts").unwrap_or_default(),
            resolver: resolver(&read("etc/resolv.conf").unwrap_or_default()),
            // What a kubelet is pointed at on machines with systemd-resolved.
            upstream: read("run/systemd/resolve/resolv.conf").ok().map(|text| resolver(&text)),
        })
    }

    /// The resolver for a Pod: one on loopback is of no use in another network namespace, if the servers behind it are known.
    pub fn dns(&self, host_network: bool) -> &DnsConfig {
        match &self.upstream {
            Some(upstream) if !host_network && self.resolves_on_loopback() => upstream,
            _ => &self.resolver,
        }
    }

    /// Whether Pods with a network of their own get a resolver that they cannot reach.
    pub fn hides_its_resolver(&self) -> bool {
        self.upstream.is_none() && self.resolves_on_loopback()
    }

    fn resolves_on_loopback(&self) -> bool {
        let servers = &self.resolver.servers;
        !servers.is_empty() && servers.iter().all(|server| server.starts_with("127.") || server == "::1")
    }
}

/// `MemTotal`, which the kernel gives in KiB.
fn memory(meminfo: &str) -> i64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<i64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

/// Version 1 has the file in the root of its memory hierarchy; version 2 not in the root, but in groups below it.
fn counts_swap(cgroup: &Path) -> bool {
    if cgroup.join("memory").exists() {
        return cgroup.join("memory/memory.memsw.limit_in_bytes").exists();
    }
    let groups = fs::read_dir(cgroup).into_iter().flatten().flatten();
    groups.into_iter().any(|group| group.path().join("memory.swap.max").exists())
}

/// resolv.conf(5): all servers, the last search list, the last options.
fn resolver(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let values = words.map(str::to_owned);
        match keyword {
            Some("nameserver") => dns.servers.extend(values.take(1)),
            Some("search") => dns.searches = values.map(|name| name.trim_end_matches('.').to_owned()).collect(),
            Some("options") => dns.options = values.collect(),
            _ => {}
        }
    }
    dns.searches.retain(|name| !name.is_empty());
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> Host {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/meminfo", "MemTotal:  2048 kB\nMemFree: 1 kB\n")].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Host::read(root.path()).unwrap()
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(machine(&[]).memory, 2 << 20);
    }

    #[test]
    fn the_resolver_is_read_as_the_c_library_reads_it() {
        let text = "# a comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2 trailing\nsearch old\nsearch a.example. b.example\noptions ndots:2 edns0\n";
        let host = machine(&[("etc/resolv.conf", text)]);
        let expected = DnsConfig {
            servers: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            searches: vec!["a.example".into(), "b.example".into()],
            options: vec!["ndots:2".into(), "edns0".into()],
        };
        assert_eq!(host.dns(false), &expected);
        assert!(!host.hides_its_resolver());
    }

    #[test]
    fn pods_get_the_servers_behind_a_resolver_on_loopback() {
        let stub = ("etc/resolv.conf", "nameserver 127.0.0.53\n");
        let host = machine(&[stub, ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n")]);
        assert_eq!(host.dns(false).servers, ["192.0.2.1"]);
        assert_eq!(host.dns(true).servers, ["127.0.0.53"]);
        assert!(!host.hides_its_resolver());
        let alone = machine(&[stub]);
        assert_eq!(alone.dns(false).servers, ["127.0.0.53"]);
        assert!(alone.hides_its_resolver());
    }

    #[test]
    fn swap_accounting_is_found_in_both_versions_of_cgroups() {
        assert!(!machine(&[]).counts_swap);
        assert!(!machine(&[("sys/fs/cgroup/memory/tasks", "")]).counts_swap);
        assert!(machine(&[("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "")]).counts_swap);
        assert!(machine(&[("sys/fs/cgroup/system.slice/memory.swap.max", "")]).counts_swap);
    }
}
