//! cri-dockerd's flags that set nothing here.
//!
//! A value is let through in silence when it asks for what Dockside does anyway, ignored with a warning when it
//! had no effect on pods in cri-dockerd with CNI either, and refused when leaving it out would make the node behave or protect itself
//! differently from what the person who wrote it counts on.

/// How pods were connected. Pods with another network than the one asked for are no small matter.
pub(super) fn network_plugin(value: &str) -> Result<Option<&'static str>, String> {
    match value {
        "cni" => Ok(None),
        "kubenet" => Err("kubenet is gone from Kubernetes; use cni: without a configuration in cni-conf-dir, \
                          Dockside has a bridge network of its own in pod-cidr, which does what kubenet did"
            .into()),
        "" | "no-op" => {
            Err("this left pods on Docker's bridge, where Kubernetes' network rules do not hold; use cni: \
                             without a configuration in cni-conf-dir, Dockside has a bridge network of its own"
                .into())
        }
        _ => Err("the only network plugin is cni".into()),
    }
}

/// Read by kubenet alone, so no pod changes; CNI's bridge plugin has its own setting.
pub(super) fn hairpin_mode(value: &str) -> Result<Option<&'static str>, String> {
    match value {
        "none" => Ok(None),
        "hairpin-veth" | "promiscuous-bridge" => {
            Ok(Some("only kubenet read it; set hairpinMode in the CNI configuration"))
        }
        _ => Err("it is one of none, hairpin-veth, promiscuous-bridge".into()),
    }
}

/// Read by kubenet alone, so no pod changes; CNI's plugins have their own setting.
pub(super) fn mtu(value: &str) -> Result<Option<&'static str>, String> {
    match value.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some("only kubenet read it; set mtu in the CNI configuration")),
        Err(_) => Err("a number is needed".into()),
    }
}

/// Chose whether a pod's second address was shown. Dockside shows what the network gave, which is what one gets without this flag too: not refused.
pub(super) fn dual_stack(value: &str) -> Result<Option<&'static str>, String> {
    match value {
        "false" => Ok(None),
        "true" => Ok(Some("a pod always has every address its network gives it")),
        _ => Err("it is true or false".into()),
    }
}

/// Put dockerd and containerd into a cgroup that may use 70 % of the memory. A node whose daemon lost its limit
/// is worse protected, so this is not passed over.
pub(super) fn runtime_cgroups(value: &str) -> Result<Option<&'static str>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    Err("Dockside does not move Docker's processes; give docker.service a Slice= and a MemoryMax= instead".into())
}
