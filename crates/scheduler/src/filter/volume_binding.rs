//! Bound volumes must be accessible from the node. Claims whose class has WaitForFirstConsumer need an available volume
//! there, or a provisioner that can make one there. What must be done for the chosen node is a [`VolumePlan`].

use std::sync::Arc;

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Reasons;
use super::Refusal;
use super::volume_restrictions::missing;
use super::volume_zone::missing_class;
use crate::cluster::Cluster;
use crate::cluster::NodeInfo;
use crate::cluster::VolumePlan;
use crate::model::Claim;
use crate::model::ClaimRef;
use crate::model::Class;
use crate::model::Node;
use crate::model::Pod;
use crate::model::Volume;

pub(super) const FILTER: Filter = Filter {
    name: "VolumeBinding",
    prepare,
    events: ClusterEvents::NODE_ADDED
        .or(ClusterEvents::NODE_LABELS)
        .or(ClusterEvents::CLAIM)
        .or(ClusterEvents::VOLUME)
        .or(ClusterEvents::STORAGE_CLASS)
        .or(ClusterEvents::CSI),
};

const UNREACHABLE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NONE_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const TOO_SMALL: &str = "node(s) did not have enough free storage";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    if pod.shape.claims.is_empty() {
        return Ok(None);
    }
    let claims = Claims::of(pod, cluster)?;
    Ok(Some(Box::new(move |_, info: &NodeInfo| claims.plan(&info.node, cluster).map(drop))))
}

/// What must be done about a pod's volumes before it is bound to a node.
///
/// # Errors
/// The refusal, if the pod does not fit the node.
pub(crate) fn plan(pod: &Pod, cluster: &Cluster, info: &NodeInfo) -> Result<VolumePlan, Refusal> {
    if pod.shape.claims.is_empty() {
        return Ok(VolumePlan::default());
    }
    Claims::of(pod, cluster)?.plan(&info.node, cluster)
}

/// A pod's claims by what is left to do for them.
#[derive(Default)]
struct Claims<'a> {
    /// The volume of each bound claim; `None` if it does not exist.
    bound: Vec<Option<&'a Arc<Volume>>>,
    /// Claims without a volume.
    waiting: Vec<Waiting<'a>>,
}

/// A claim that gets a volume once the pod's node is known (WaitForFirstConsumer).
struct Waiting<'a> {
    claim: &'a Arc<Claim>,
    class: &'a Class,
    /// Available volumes that satisfy the claim, the smallest first. A volume already reserved for the claim is the
    /// only candidate.
    candidates: Vec<&'a Arc<Volume>>,
}

impl<'a> Claims<'a> {
    fn of(pod: &Pod, cluster: &'a Cluster) -> Result<Claims<'a>, Refusal> {
        let known: Vec<_> =
            pod.shape.claims.iter().map(|claim| usable(claim, pod, cluster)).collect::<Result<_, _>>()?;
        let mut claims = Claims::default();
        for claim in known {
            if claim.bound {
                let volume = claim.volume.as_ref().and_then(|name| cluster.storage.volumes.get(name));
                claims.bound.push(volume);
                continue;
            }
            let class = match &claim.class {
                none if none.is_empty() => None,
                name => Some(cluster.storage.classes.get(name).ok_or_else(|| missing_class(name))?),
            };
            match class {
                Some(class) if class.waits_for_consumer == Some(true) && claim.volume.is_none() => {
                    claims.waiting.push(Waiting { claim, class, candidates: candidates(claim, cluster) });
                }
                _ => return Err(Refusal::unresolvable("pod has unbound immediate PersistentVolumeClaims")),
            }
        }
        // Small claims first, so that they do not take volumes only a large claim needs.
        claims.waiting.sort_by_key(|waiting| waiting.claim.request);
        Ok(claims)
    }

    fn plan(&self, node: &Node, cluster: &Cluster) -> Result<VolumePlan, Refusal> {
        let mut refused = Vec::new();
        if self.bound.iter().flatten().any(|volume| !volume.reaches(&node.labels)) {
            refused.push(UNREACHABLE.into());
        }
        let mut plan = VolumePlan::default();
        match self.plan_waiting(node, cluster, &mut plan) {
            Ok(()) => {}
            Err(Refusal { reasons: Reasons::One(reason), .. }) => refused.push(reason),
            Err(several) => return Err(several),
        }
        if refused.is_empty() && self.bound.iter().any(Option::is_none) {
            refused.push(GONE.into());
        }
        if refused.is_empty() {
            Ok(plan)
        } else {
            Err(Refusal { reasons: Reasons::Several(refused), resolvable: false })
        }
    }

    fn plan_waiting(&self, node: &Node, cluster: &Cluster, plan: &mut VolumePlan) -> Result<(), Refusal> {
        if self.waiting.iter().any(|one| one.claim.selected_node.as_ref().is_some_and(|name| *name != node.name)) {
            return Err(Refusal::unresolvable(NONE_TO_BIND));
        }
        let mut provision = Vec::new();
        for waiting in &self.waiting {
            let volume = if waiting.claim.selected_node.is_some() { None } else { waiting.find(node, plan) };
            match volume {
                Some(volume) => plan.bind.push((volume.clone(), waiting.claim.clone())),
                None => provision.push(waiting),
            }
        }
        for waiting in provision {
            waiting.can_be_provisioned(node, cluster)?;
            plan.provision.push(waiting.claim.clone());
        }
        Ok(())
    }
}

/// The claim of a pod's volume, if it can be used.
fn usable<'a>(claim: &ClaimRef, pod: &Pod, cluster: &'a Cluster) -> Result<&'a Arc<Claim>, Refusal> {
    let name = pod.claim_name(claim);
    let ephemeral = matches!(claim, ClaimRef::Ephemeral(_));
    let waiting = || {
        Refusal::unresolvable(format!(
            "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
        ))
    };
    let known = cluster.storage.claim(pod.namespace(), &name);
    let claim = known.ok_or_else(|| if ephemeral { waiting() } else { missing(&name) })?;
    if claim.lost {
        let volume = claim.volume.as_deref().unwrap_or_default();
        let reason = format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}");
        return Err(Refusal::unresolvable(reason));
    }
    if claim.terminating {
        return Err(Refusal::unresolvable(format!("persistentvolumeclaim {name:?} is being deleted")));
    }
    if ephemeral && claim.owner.as_ref() != Some(&pod.uid) {
        return Err(not_owned(&name, pod));
    }
    Ok(claim)
}

/// The refusal of a pod when the claim of its ephemeral volume has another owner.
fn not_owned(claim: &str, pod: &Pod) -> Refusal {
    let namespace = pod.namespace();
    Refusal::unresolvable(format!("PVC {namespace}/{claim} was not created for pod {pod} (pod is not owner)"))
}

/// Volumes that satisfy a claim, whatever their node affinity.
fn candidates<'a>(claim: &Claim, cluster: &'a Cluster) -> Vec<&'a Arc<Volume>> {
    let suits = |volume: &&Arc<Volume>| {
        volume.capacity >= claim.request
            && volume.block == claim.block
            && volume.attributes_class == claim.attributes_class
            && volume.class == claim.class
            && !volume.terminating
    };
    let free = |volume: &&Arc<Volume>| {
        volume.claim.is_none()
            && volume.available
            && claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels))
            && volume.modes.contains(claim.modes)
    };
    let all = || cluster.storage.volumes.values().filter(suits);
    if let Some(reserved) = all().find(|volume| volume.is_for(claim)) {
        return vec![reserved];
    }
    let mut free: Vec<_> = all().filter(free).collect();
    free.sort_by(|a, b| (a.capacity, &a.name).cmp(&(b.capacity, &b.name)));
    free
}

impl<'a> Waiting<'a> {
    /// The smallest candidate accessible from the node and not yet in the plan.
    fn find(&self, node: &Node, plan: &VolumePlan) -> Option<&'a Arc<Volume>> {
        let taken = |volume: &Arc<Volume>| plan.bind.iter().any(|(other, _)| other.name == volume.name);
        self.candidates.iter().find(|volume| volume.reaches(&node.labels) && !taken(volume)).copied()
    }

    fn can_be_provisioned(&self, node: &Node, cluster: &Cluster) -> Result<(), Refusal> {
        if !self.class.provisions() || !self.class.reaches(&node.labels) {
            return Err(Refusal::unresolvable(NONE_TO_BIND));
        }
        let publishes =
            cluster.storage.csi_drivers.get(&self.class.provisioner).is_some_and(|csi| csi.storage_capacity);
        let has_room = || {
            cluster.storage.capacities.values().any(|capacity| {
                capacity.class == self.class.name
                    && capacity.largest.is_some_and(|largest| largest >= self.claim.request)
                    && capacity.nodes.matches(&node.labels)
            })
        };
        if self.claim.has_request && publishes && !has_room() {
            return Err(Refusal::unresolvable(TOO_SMALL));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;
    use crate::filter::tests::verdict;

    fn uses(claims: &[&str]) -> Value {
        let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        json!({"spec": {"volumes": claims.iter().map(volume).collect::<Vec<_>>()}})
    }

    /// A volume that is accessible from one node only.
    fn local(node: &str, size: &str) -> Value {
        json!({"spec": {"capacity": {"storage": size}, "storageClassName": "local", "nodeAffinity": {"required":
            {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}})
    }

    fn wants(size: &str) -> Value {
        json!({"spec": {"storageClassName": "local", "resources": {"requests": {"storage": size}}}})
    }

    fn bound_to(volume: &str) -> Value {
        json!({"spec": {"volumeName": volume},
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}})
    }

    fn cluster() -> Builder {
        let local = json!({"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
        Builder::default().nodes(&["a", "b"]).class("local", local)
    }

    #[test]
    fn a_bound_volume_must_be_accessible_from_the_node() {
        let builder = cluster().claim("c", bound_to("v")).volume("v", local("b", "1Gi"));
        assert_eq!(fits(&builder, uses(&["c"])), ["b"]);
        let lost = cluster().claim("c", bound_to("none"));
        assert_eq!(verdict(&lost, uses(&["c"]), "a").unwrap(), "VolumeZone: persistentvolume \"none\" not found");
    }

    #[test]
    fn a_volume_affinity_with_an_invalid_number_matches_no_node() {
        let mut volume = local("a", "1Gi");
        volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"] =
            json!([{"key": "size", "operator": "Lt", "values": ["5.10"]}]);
        let builder = cluster().claim("c", bound_to("v")).volume("v", volume);
        assert_eq!(verdict(&builder, uses(&["c"]), "a").unwrap(), format!("VolumeBinding: {UNREACHABLE}"));
    }

    #[test]
    fn an_unbound_immediate_claim_rejects_the_pod() {
        let builder = cluster().class("now", json!({"volumeBindingMode": "Immediate"}));
        let builder = builder.claim("c", json!({"spec": {"storageClassName": "now"}}));
        let expected = "VolumeBinding: pod has unbound immediate PersistentVolumeClaims";
        assert_eq!(verdict(&builder, uses(&["c"]), "a").unwrap(), expected);
    }

    #[test]
    fn a_delayed_claim_gets_the_smallest_sufficient_volume() {
        let builder = cluster()
            .claim("c", wants("2Gi"))
            .volume("small", local("a", "1Gi"))
            .volume("large", local("b", "8Gi"))
            .volume("medium", local("b", "4Gi"));
        assert_eq!(fits(&builder, uses(&["c"])), ["b"]);
        let node = builder.cluster.node(builder.cluster.node_named("b").unwrap());
        let plan = plan(&builder.pod(uses(&["c"])), &builder.cluster, node).unwrap();
        assert_eq!(&*plan.bind[0].0.name, "medium");
    }

    #[test]
    fn two_claims_need_two_volumes() {
        let builder = cluster().claim("c", wants("1Gi")).claim("d", wants("1Gi"));
        let builder = builder.volume("v", local("a", "1Gi")).volume("w", local("b", "1Gi"));
        assert!(fits(&builder, uses(&["c", "d"])).is_empty());
        assert_eq!(fits(&builder.volume("x", local("b", "1Gi")), uses(&["c", "d"])), ["b"]);
    }

    #[test]
    fn a_volume_reserved_for_the_claim_is_the_only_candidate() {
        let mut reserved = local("a", "9Gi");
        reserved["spec"]["claimRef"] = json!({"namespace": "default", "name": "c"});
        let builder = cluster().claim("c", wants("1Gi")).volume("v", local("b", "1Gi")).volume("w", reserved);
        assert_eq!(fits(&builder, uses(&["c"])), ["a"]);
    }

    #[test]
    fn provisioning_follows_selected_node_and_allowed_topologies() {
        let class = json!({"volumeBindingMode": "WaitForFirstConsumer", "allowedTopologies": [
            {"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["b", "c"]}]}]});
        let claim = json!({"spec": {"storageClassName": "made"}});
        let builder = cluster().nodes(&["c"]).class("made", class).claim("c", claim);
        assert_eq!(fits(&builder, uses(&["c"])), ["b", "c"]);
        let selected = json!({"spec": {"storageClassName": "made"},
            "metadata": {"annotations": {"volume.kubernetes.io/selected-node": "c"}}});
        assert_eq!(fits(&builder.claim("c", selected), uses(&["c"])), ["c"]);
    }

    #[test]
    fn a_terminating_claim_rejects_the_pod() {
        let builder = cluster().claim(
            "c",
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"storageClassName": "local"}}),
        );
        assert!(verdict(&builder, uses(&["c"]), "a").unwrap().ends_with("is being deleted"));
    }

    #[test]
    fn an_ephemeral_volume_needs_a_claim_made_for_this_pod() {
        let pod = json!({"spec": {"volumes": [{"name": "scratch", "ephemeral": {}}]}});
        let owned = |uid: &str| {
            json!({"metadata": {"ownerReferences": [
            {"kind": "Pod", "name": "new", "uid": uid, "controller": true}]}, "spec": {"storageClassName": "made"}})
        };
        let builder = cluster().class("made", json!({"volumeBindingMode": "WaitForFirstConsumer"}));
        assert!(fits(&builder, pod.clone()).is_empty());
        let builder = builder.claim("new-scratch", owned("other"));
        assert!(fits(&builder, pod.clone()).is_empty());
        assert_eq!(fits(&builder.claim("new-scratch", owned("new")), pod), ["a", "b"]);
    }
}
