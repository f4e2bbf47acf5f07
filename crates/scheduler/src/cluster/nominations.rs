//! Nodes reserved for pending pods while their victims terminate.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Pod;

/// The nominated node of each pending pod.
#[derive(Debug, Default)]
pub(crate) struct Nominations {
    by_node: HashMap<Arc<str>, Vec<Arc<Pod>>>,
    /// Nominations made here that the API server does not show yet, by the pod's uid.
    unconfirmed: HashMap<Arc<str>, Unconfirmed>,
}

#[derive(Debug)]
struct Unconfirmed {
    node: Arc<str>,
    /// The node that the API server shows until then.
    before: Option<Arc<str>>,
}

impl Nominations {
    /// Applies a pending pod with or without a nominated node. Returns the node that is no longer nominated for it.
    pub(crate) fn put(&mut self, pod: Arc<Pod>) -> Option<Arc<str>> {
        let before = self.take(&pod.uid).filter(|node| pod.nominated.as_ref() != Some(node));
        if let Some(node) = &pod.nominated {
            self.by_node.entry(node.clone()).or_default().push(pod);
        }
        before
    }

    /// Nominates a node that the API server does not show yet. Returns the pod with its nomination, and the node
    /// nominated before.
    pub(crate) fn nominate(&mut self, pod: &Pod, node: &Arc<str>) -> (Arc<Pod>, Option<Arc<str>>) {
        let before = match self.unconfirmed.remove(&pod.uid) {
            Some(earlier) => earlier.before,
            None => pod.nominated.clone(),
        };
        self.unconfirmed.insert(pod.uid.clone(), Unconfirmed { node: node.clone(), before });
        let pod = Arc::new(Pod { nominated: Some(node.clone()), ..Pod::clone(pod) });
        (pod.clone(), self.put(pod))
    }

    /// The node nominated for a pod, while the API server does not show it.
    pub(crate) fn unconfirmed(&self, uid: &str) -> Option<Arc<str>> {
        self.unconfirmed.get(uid).map(|unconfirmed| unconfirmed.node.clone())
    }

    /// A pending pod as the API server has it, with the nomination made here if the server still shows the previous
    /// one.
    pub(crate) fn with_unconfirmed(&mut self, pod: Arc<Pod>) -> Arc<Pod> {
        match self.unconfirmed.get(&pod.uid) {
            Some(unconfirmed) if unconfirmed.before == pod.nominated => {
                Arc::new(Pod { nominated: Some(unconfirmed.node.clone()), ..Pod::clone(&pod) })
            }
            Some(_) => {
                self.unconfirmed.remove(&pod.uid);
                pod
            }
            None => pod,
        }
    }

    /// Clears the pod's nomination. Returns the node.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<str>> {
        self.unconfirmed.remove(uid);
        self.take(uid)
    }

    fn take(&mut self, uid: &str) -> Option<Arc<str>> {
        let mut before = None;
        self.by_node.retain(|node, pods| {
            if let Some(at) = pods.iter().position(|pod| *pod.uid == *uid) {
                pods.swap_remove(at);
                before = Some(node.clone());
            }
            !pods.is_empty()
        });
        before
    }

    /// Nodes nominated for pods of at least this pod's priority, with those pods, but not the pod itself.
    pub(crate) fn competing(&self, pod: &Pod) -> Vec<(Arc<str>, Vec<Arc<Pod>>)> {
        let all = self.by_node.keys().map(|node| (node.clone(), self.competing_on(node, pod)));
        all.filter(|(_, pods)| !pods.is_empty()).collect()
    }

    /// Pods of at least this pod's priority for which the node is nominated, but not the pod itself.
    pub(crate) fn competing_on(&self, node: &str, pod: &Pod) -> Vec<Arc<Pod>> {
        let first = |other: &&Arc<Pod>| other.shape.priority >= pod.shape.priority && other.uid != pod.uid;
        self.by_node.get(node).into_iter().flatten().filter(first).cloned().collect()
    }

    /// Pods below this priority for which the node is nominated.
    pub(crate) fn below(&self, node: &str, priority: i32) -> Vec<Arc<Pod>> {
        let pods = self.by_node.get(node).map_or(&[][..], Vec::as_slice);
        pods.iter().filter(|pod| pod.shape.priority < priority).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;

    fn waiting(name: &str, priority: i32, node: &str) -> Arc<Pod> {
        let builder = Builder::default();
        let pod = builder.pod(json!({"spec": {"priority": priority}, "status": {"nominatedNodeName": node}}));
        Arc::new(Pod { uid: Arc::from(name), ..Pod::clone(&pod) })
    }

    #[test]
    fn a_nomination_stays_until_the_server_shows_another() {
        let mut nominations = Nominations::default();
        let named = |node: &str| waiting("p", 1, node);
        nominations.put(named("a"));
        let (chosen, cleared) = nominations.nominate(&named("a"), &Arc::from("b"));
        assert_eq!((chosen.nominated.as_deref(), cleared.as_deref()), (Some("b"), Some("a")));
        // A response from before the nomination.
        assert_eq!(nominations.with_unconfirmed(named("a")).nominated.as_deref(), Some("b"));
        assert_eq!(nominations.unconfirmed("p").as_deref(), Some("b"));
        assert_eq!(nominations.with_unconfirmed(named("b")).nominated.as_deref(), Some("b"));
        assert_eq!(nominations.unconfirmed("p"), None);
        assert_eq!(nominations.with_unconfirmed(named("a")).nominated.as_deref(), Some("a"));
    }

    #[test]
    fn a_nomination_competes_with_pods_of_at_most_its_priority() {
        let mut nominations = Nominations::default();
        for (name, priority, node) in [("low", 1, "a"), ("high", 5, "a"), ("other", 9, "b")] {
            nominations.put(waiting(name, priority, node));
        }
        let before = |pod: &Pod| {
            let mut uids: Vec<_> = nominations.competing_on("a", pod).iter().map(|pod| pod.uid.to_string()).collect();
            uids.sort();
            uids
        };
        assert_eq!(before(&waiting("new", 0, "")), ["high", "low"]);
        assert_eq!(before(&waiting("new", 5, "")), ["high"]);
        assert!(before(&waiting("high", 5, "a")).is_empty());
        let nodes: Vec<_> = nominations.competing(&waiting("new", 6, "")).into_iter().map(|(node, _)| node).collect();
        assert_eq!(nodes, [Arc::<str>::from("b")]);
    }
}
