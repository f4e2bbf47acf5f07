//! The pod's resolv.conf.
//!
//! Docker makes one file per pause container and shows it to every container that joins the pause container's
//! network, a container started by hand with `--network container:` included. So that one file is rewritten.

use std::path::Path;

use crate::error::Error;
use crate::proto::DnsConfig;

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

/// Rewrites Docker's file in place: it is bind-mounted, so it must stay the same file.
///
/// # Errors
/// When the file cannot be written.
pub(super) async fn write(path: &Path, dns: &DnsConfig) -> Result<(), Error> {
    tokio::fs::write(path, render(dns)).await.map_err(|source| Error::Io {
        doing: "write the pod's resolv.conf",
        path: path.to_owned(),
        source,
    })
}

/// Whether the pod asks for anything; without, the file stays as Docker made it from the node's.
pub(super) fn is_asked(dns: &DnsConfig) -> bool {
    !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_what_the_pod_asked_for_and_nothing_else() {
        let dns = DnsConfig {
            servers: vec!["10.10.10.10".into(), "10.10.10.11".into()],
            searches: vec!["google.com".into(), "a.b".into()],
            options: vec!["ndots:8".into()],
        };
        let expected = "search google.com a.b\nnameserver 10.10.10.10\nnameserver 10.10.10.11\noptions ndots:8\n";
        assert_eq!(render(&dns), expected);
    }

    #[test]
    fn a_line_break_cannot_smuggle_in_another_setting() {
        let dns = DnsConfig { servers: vec!["1.1.1.1\nnameserver 6.6.6.6".into()], ..Default::default() };
        assert!(check("pod a/b", &dns).is_err());
    }
}
