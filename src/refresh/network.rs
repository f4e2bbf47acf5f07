//! What became of a pod's network while its pause container was not watched.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use cni_runtime as cni;

use crate::docker::ContainerDetails;
use crate::state::Store;

/// The network of a pod whose pause container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodNetwork {
    /// The namespace is the pod's, or there is nothing to check.
    Kept,
    /// The namespace is the pod's, but its pin was removed: only the pause process keeps it.
    Unpinned,
    /// The pause container was restarted by another client: it runs in a new network namespace, without the pod's
    /// interface.
    Lost,
}

impl PodNetwork {
    /// Checks the network of the sandbox that `details` are of; a container is not checked.
    pub(super) fn of(store: &Store, details: &ContainerDetails) -> PodNetwork {
        let Some(sandbox) = store.index().sandboxes.get(&details.id).filter(|_| details.state.running) else {
            return PodNetwork::Kept;
        };
        let (Some(pin), Some(network)) = (&sandbox.record.netns, &sandbox.record.network) else {
            return PodNetwork::Kept;
        };
        let process = PathBuf::from(format!("/proc/{}", details.state.pid));
        let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let Some(current) = identity(&process.join("ns/net")).filter(|_| !network.released) else {
            return PodNetwork::Kept;
        };
        if cni::is_pinned(pin) {
            return if identity(pin) == Some(current) { PodNetwork::Kept } else { PodNetwork::Lost };
        }
        if network.ips.iter().all(|ip| has_address(&process, *ip)) { PodNetwork::Unpinned } else { PodNetwork::Lost }
    }
}

/// Whether the network namespace of a process (a directory of `/proc`) has this address; true when it cannot be read.
fn has_address(process: &Path, ip: IpAddr) -> bool {
    match ip {
        // The kernel's routing table has each local address as a leaf.
        IpAddr::V4(ip) => {
            let leaf = format!("|-- {ip}");
            std::fs::read_to_string(process.join("net/fib_trie"))
                .map_or(true, |text| text.lines().any(|line| line.trim() == leaf))
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", u128::from(ip));
            std::fs::read_to_string(process.join("net/if_inet6")).map_or(true, |text| text.contains(&digits))
        }
    }
}

/// Pins the network namespace of a pod again. A sandbox that a verb has locked is left alone: the verb may be tearing
/// the network down.
pub(super) async fn pin_again(store: &Store, id: &str, pid: i32) {
    let Some(sandbox) = store.index().sandboxes.get(id) else { return };
    let Some(_guard) = store.try_lock(&sandbox.record.key) else { return };
    let Some(sandbox) = store.index().sandboxes.get(id).filter(|sandbox| sandbox.is_ready() && !sandbox.stopping)
    else {
        return;
    };
    let (Some(path), Ok(pid)) = (sandbox.record.netns.clone(), u32::try_from(pid)) else { return };
    match tokio::task::spawn_blocking(move || cni::pin_at(&path, pid)).await {
        Ok(Ok(())) => tracing::info!(sandbox = id, "pinned a network namespace again whose pin was removed"),
        Ok(Err(error)) => tracing::warn!(sandbox = id, %error, "could not pin a network namespace again"),
        Err(error) => tracing::error!(sandbox = id, %error, "could not pin a network namespace again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_kernels_tables() {
        let own = Path::new("/proc/self");
        assert!(has_address(own, "127.0.0.1".parse().unwrap()));
        assert!(!has_address(own, "192.0.2.77".parse().unwrap()));
        assert!(!has_address(own, "2001:db8::77".parse().unwrap()) || !own.join("net/if_inet6").exists());
        assert!(has_address(Path::new("/nowhere"), "192.0.2.77".parse().unwrap()));
    }
}
