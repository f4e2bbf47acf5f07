//! Setup and teardown of the pod network: pins the network namespace and runs the CNI plugins in it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::proto;
use crate::proto::PodSandboxConfig;
use crate::state::NetworkRecord;
use crate::state::SandboxRecord;
use cni_runtime as cni;
use cni_runtime::Attachment;
use kubernetes_quantity::Quantity;

use super::Pods;
use super::describe;

/// A namespace is named by this prefix and the sandbox's key.
const NETNS_PREFIX: &str = "dockside-";
/// The kubelet's annotations for the bandwidth plugin, as quantities of bits per second.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// What Kubernetes allows there, 1k to 1P bits per second (k8s.io/kubernetes/pkg/util/bandwidth).
const RATES: RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// The burst in bits: the most that the plugin accepts, so that only the rate limits.
const BURST: u64 = i32::MAX as u64;

impl Pods {
    /// Refuses a pod that needs a network while none is ready, before anything is made for it.
    pub(super) fn require_network(&self, record: &SandboxRecord) -> Result<(), Error> {
        if record.config.is_host_network() {
            return Ok(());
        }
        attachment(record, None)?;
        let status = self.cni.status();
        if status.ready { Ok(()) } else { Err(cni::Error::NoNetwork { reason: status.message }.into()) }
    }

    /// Pins the network namespace of process `pid` and runs CNI ADD; puts the addresses into `record`.
    pub(super) async fn setup_pod_network(&self, record: &mut SandboxRecord, pid: i32) -> Result<(), Error> {
        let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(|| {
            Error::precondition(
                describe(&record.config),
                "has no network: its pause process exited before the network was set up",
            )
        })?;
        let path = self.netns_path(record);
        let (cni, name) = (Arc::clone(&self.cni), netns_name(record));
        blocking(&path, move || cni.pin_netns(&name, pid)).await?;
        record.netns = Some(path.clone());
        let attached = self.cni.add(&attachment(record, Some(path))?).await?;
        record.network = Some(NetworkRecord { name: attached.network, ips: attached.ips, released: false });
        Ok(())
    }

    /// Runs CNI DEL and unpins the namespace. Can be repeated, and called for a pod that was never attached.
    pub(super) async fn teardown_pod_network(&self, record: &mut SandboxRecord) -> Result<(), Error> {
        if record.config.is_host_network() || record.network.as_ref().is_some_and(|network| network.released) {
            return Ok(());
        }
        let path = self.netns_path(record);
        let netns = cni::is_pinned(&path).then(|| path.clone());
        self.cni.del(&attachment(record, netns)?).await?;
        let (cni, pinned) = (Arc::clone(&self.cni), path.clone());
        blocking(&path, move || cni.unpin_netns(&pinned)).await?;
        if let Some(network) = &mut record.network {
            network.released = true;
        }
        Ok(())
    }

    /// Where the namespace is pinned. It follows from the key, so that an interrupted RunPodSandbox can be undone.
    fn netns_path(&self, record: &SandboxRecord) -> PathBuf {
        record.netns.clone().unwrap_or_else(|| self.cni.netns_path(&netns_name(record)))
    }
}

fn netns_name(record: &SandboxRecord) -> String {
    format!("{NETNS_PREFIX}{}", record.key)
}

/// The key of the sandbox whose namespace is pinned at `path`; `None` if Dockside did not pin it.
pub(super) fn key_of_netns(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix(NETNS_PREFIX)
}

/// Runs `work` on a thread that may block, as mounting does. `path` is for the error.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, cni::Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(source) => {
            Err(Error::Io { doing: "finish the work on", path: path.to_owned(), source: std::io::Error::other(source) })
        }
    }
}

fn attachment(record: &SandboxRecord, netns: Option<PathBuf>) -> Result<Attachment, Error> {
    let config = &record.config;
    let meta = config.metadata.clone().unwrap_or_default();
    let parent = config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).filter(|parent| !parent.is_empty());
    Ok(Attachment {
        container_id: if record.id.is_empty() { record.key.clone() } else { record.id.clone() },
        netns,
        pod_name: meta.name,
        pod_namespace: meta.namespace,
        pod_uid: meta.uid,
        port_mappings: config
            .port_mappings
            .iter()
            .filter(|port| port.host_port != 0)
            .map(|port| port_mapping(config, port))
            .collect::<Result<_, _>>()?,
        bandwidth: bandwidth(config)?,
        dns: config.dns_config.as_ref().map(|dns| cni::Dns {
            servers: dns.servers.clone(),
            searches: dns.searches.clone(),
            options: dns.options.clone(),
        }),
        cgroup_path: parent,
        annotations: config.annotations.clone(),
        ..Attachment::default()
    })
}

fn port_mapping(config: &PodSandboxConfig, port: &proto::PortMapping) -> Result<cni::PortMapping, Error> {
    let number = |field, value: i32| {
        u16::try_from(value)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Error::invalid(describe(config), field, format!("{value} is not a port (1 to 65535)")))
    };
    let host_ip = match port.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Error::invalid(describe(config), "port_mappings.host_ip", format!("{text:?} is not an IP address"))
        })?),
    };
    Ok(cni::PortMapping {
        host_port: number("port_mappings.host_port", port.host_port)?,
        container_port: number("port_mappings.container_port", port.container_port)?,
        protocol: match port.protocol() {
            proto::Protocol::Tcp => cni::Protocol::Tcp,
            proto::Protocol::Udp => cni::Protocol::Udp,
            proto::Protocol::Sctp => cni::Protocol::Sctp,
        },
        host_ip,
    })
}

fn bandwidth(config: &PodSandboxConfig) -> Result<Option<cni::Bandwidth>, Error> {
    let rate = |key: &str| match config.annotations.get(key) {
        None => Ok(0),
        Some(text) => bits(text).ok_or_else(|| {
            Error::invalid(
                describe(config),
                "annotations",
                format!("{key}: {text:?} is not a rate from 1k to 1P (bits per second)"),
            )
        }),
    };
    let (ingress_rate, egress_rate) = (rate(INGRESS)?, rate(EGRESS)?);
    if ingress_rate == 0 && egress_rate == 0 {
        return Ok(None);
    }
    let burst = |rate| if rate == 0 { 0 } else { BURST };
    Ok(Some(cni::Bandwidth {
        ingress_rate,
        ingress_burst: burst(ingress_rate),
        egress_rate,
        egress_burst: burst(egress_rate),
    }))
}

/// A rate in bits per second, if Kubernetes accepts it.
fn bits(text: &str) -> Option<u64> {
    let bits = text.parse::<Quantity>().ok()?.value();
    u64::try_from(bits).ok().filter(|bits| RATES.contains(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(annotations: &[(&str, &str)]) -> PodSandboxConfig {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        PodSandboxConfig { annotations, ..Default::default() }
    }

    #[test]
    fn bandwidth_annotations_are_rates_in_bits() {
        let limits = bandwidth(&config(&[(INGRESS, "10M")])).unwrap().unwrap();
        assert_eq!((limits.ingress_rate, limits.egress_rate), (10_000_000, 0));
        assert_eq!(bandwidth(&config(&[])).unwrap(), None);
        assert!(bandwidth(&config(&[(EGRESS, "fast")])).is_err());
    }

    #[test]
    fn a_rate_may_be_any_quantity_in_range() {
        for (text, expected) in [
            ("10M", Some(10_000_000)),
            ("1.5M", Some(1_500_000)),
            ("0.5G", Some(500_000_000)),
            ("1e6", Some(1_000_000)),
            ("1Mi", Some(1 << 20)),
            ("1P", Some(1_000_000_000_000_000)),
            ("1k", Some(1_000)),
            ("1000500m", Some(1_001)),
            ("999", None),
            ("1.1P", None),
            ("0", None),
            ("-1M", None),
            ("10Mbit", None),
            ("", None),
        ] {
            assert_eq!(bits(text), expected, "{text}");
        }
    }

    #[test]
    fn a_namespace_that_dockside_pinned_is_recognised_by_its_name() {
        assert_eq!(key_of_netns(Path::new("/run/netns/dockside-0a1b")), Some("0a1b"));
        assert_eq!(key_of_netns(Path::new("/run/netns/cni-1234")), None);
        assert_eq!(key_of_netns(Path::new("/proc/7/ns/net")), None);
    }

    #[test]
    fn a_port_out_of_range_is_refused_by_its_field() {
        let port = proto::PortMapping { container_port: 80, host_port: 70000, ..Default::default() };
        let error = port_mapping(&config(&[]), &port).unwrap_err().to_string();
        assert!(error.contains("port_mappings.host_port: 70000"), "{error}");
    }
}
