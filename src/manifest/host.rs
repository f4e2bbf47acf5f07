//! What the translation of a Pod depends on of this machine.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::proto::DnsConfig;

/// This machine's memory and resolver. Read once, so that translating a Pod needs no I/O.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// Its total memory, in bytes.
    pub(super) memory: i64,
    /// Whether the kernel accounts swap per cgroup, without which it cannot be limited.
    pub(super) swap_accounting: bool,
    /// The text of its /etc/hosts.
    pub(super) hosts: String,
    /// Its resolver.
    pub(super) resolver: DnsConfig,
    /// The upstream servers of a resolver on loopback, if they are known.
    pub(super) upstream: Option<DnsConfig>,
}

impl Host {
    /// Reads them from the filesystem below `root`, which is `/` except in tests.
    ///
    /// # Errors
    /// The file that cannot be read, and the cause.
    pub(super) fn read(root: &Path) -> Result<Host, (PathBuf, io::Error)> {
        let read = |path: &str| {
            let path = root.join(path);
            fs::read_to_string(&path).map_err(|source| (path, source))
        };
        Ok(Host {
            memory: memory(&read("proc/meminfo")?),
            swap_accounting: swap_accounting(&root.join("sys/fs/cgroup")),
            // Both files are optional.
            hosts: read("etc/hosts").unwrap_or_default(),
            resolver: resolver(&read("etc/resolv.conf").unwrap_or_default()),
            // The file that kubelets are configured with on machines with systemd-resolved.
            upstream: read("run/systemd/resolve/resolv.conf").ok().map(|text| resolver(&text)),
        })
    }

    /// The resolver for a Pod. One on loopback cannot be reached from another network namespace: its upstream servers take its
    /// place where they are known.
    pub(super) fn dns(&self, host_network: bool) -> &DnsConfig {
        match &self.upstream {
            Some(upstream) if !host_network && self.resolves_on_loopback() => upstream,
            _ => &self.resolver,
        }
    }

    /// Whether a Pod with its own network namespace gets a resolver that it cannot reach.
    pub(super) fn resolver_is_unreachable(&self) -> bool {
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

/// cgroup v1 has the file in the root of its memory hierarchy; v2 has it in every cgroup but the root.
fn swap_accounting(cgroup: &Path) -> bool {
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
        assert!(!host.resolver_is_unreachable());
    }

    #[test]
    fn pods_get_the_upstream_servers_of_a_resolver_on_loopback() {
        let stub = ("etc/resolv.conf", "nameserver 127.0.0.53\n");
        let host = machine(&[stub, ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n")]);
        assert_eq!(host.dns(false).servers, ["192.0.2.1"]);
        assert_eq!(host.dns(true).servers, ["127.0.0.53"]);
        assert!(!host.resolver_is_unreachable());
        let alone = machine(&[stub]);
        assert_eq!(alone.dns(false).servers, ["127.0.0.53"]);
        assert!(alone.resolver_is_unreachable());
    }

    #[test]
    fn swap_accounting_is_found_in_cgroup_v1_and_v2() {
        assert!(!machine(&[]).swap_accounting);
        assert!(!machine(&[("sys/fs/cgroup/memory/tasks", "")]).swap_accounting);
        assert!(machine(&[("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "")]).swap_accounting);
        assert!(machine(&[("sys/fs/cgroup/system.slice/memory.swap.max", "")]).swap_accounting);
    }
}
