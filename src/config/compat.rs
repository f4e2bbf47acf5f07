//! cri-dockerd's flags that set nothing here.
//!
//! A value is accepted if Dockside does the same anyway, ignored with a warning if it had no effect on pods in cri-dockerd with
//! CNI either, and refused if pods or the node's protection would differ from what it configures.

/// The pod network. Pods on another network than the configured one would be unreachable or unprotected.
pub(super) fn network_plugin(value: &str) -> Result<Option<&'static str>, String> {
    match value {
        "cni" => Ok(None),
        "kubenet" => Err("kubenet was removed from Kubernetes; use cni: without a configuration in cni-conf-dir, \
                          Dockside serves a bridge network from pod-cidr, as kubenet did"
            .into()),
        "" | "no-op" => {
            Err("this left pods on Docker's bridge, where Kubernetes' network model does not hold; use cni: \
                             without a configuration in cni-conf-dir, Dockside serves a bridge network of its own"
                .into())
        }
        _ => Err("the only network plugin is cni".into()),
    }
}

/// Only kubenet read it, so no pod changes; CNI's bridge plugin has its own setting.
pub(super) fn hairpin_mode(value: &str) -> Result<Option<&'static str>, String> {
    match value {
        "none" => Ok(None),
        "hairpin-veth" | "promiscuous-bridge" => {
            Ok(Some("only kubenet read it; set hairpinMode in the CNI configuration"))
        }
        _ => Err("it is one of none, hairpin-veth, promiscuous-bridge".into()),
    }
}

/// Only kubenet read it, so no pod changes; CNI's plugins have their own setting.
pub(super) fn mtu(value: &str) -> Result<Option<&'static str>, String> {
    match value.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some("only kubenet read it; set mtu in the CNI configuration")),
        Err(_) => Err("a number is needed".into()),
    }
}

/// It chose whether a pod's second address was reported. Dockside always reports all addresses.
pub(super) fn dual_stack(value: &str) -> Result<Option<&'static str>, String> {
    match value {
        "false" => Ok(None),
        "true" => Ok(Some("a pod always has every address that its network assigns")),
        _ => Err("it is true or false".into()),
    }
}

/// It put dockerd and containerd into a cgroup limited to 70 % of the memory. Without that limit the node is less protected, so
/// the flag is refused.
pub(super) fn runtime_cgroups(value: &str) -> Result<Option<&'static str>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    Err("Dockside does not move Docker's processes; set Slice= and MemoryMax= in docker.service instead".into())
}
