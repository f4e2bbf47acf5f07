//! Pods that are to go to a node once others have made room for them there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Pod;

/// Which waiting pods have a node kept for them.
#[derive(Debug, Default)]
pub struct Nominations {
    by_node: HashMap<Arc<str>, Vec<Arc<Pod>>>,
    /// What was chosen here and the API server has not told of yet, by the pod's uid.
    untold: HashMap<Arc<str>, Untold>,
}

#[derive(Debug)]
struct Untold {
    node: Arc<str>,
    /// What the API server tells until then.
    before: Option<Arc<str>>,
}

impl Nominations {
    /// Takes note of where a waiting pod is to go, or that it is to go nowhere any more. Returns the node that is not
    /// kept for it any more.
    pub fn put(&mut self, pod: Arc<Pod>) -> Option<Arc<str>> {
        let before = self.take(&pod.uid).filter(|node| pod.nominated.as_ref() != Some(node));
        if let Some(node) = &pod.nominated {
            self.by_node.entry(node.clone()).or_default().push(pod);
        }
        before
    }

    /// The same for a node that is chosen here, of which the API server does not know yet; returns the pod as well, as it
    /// is from now on.
    pub fn choose(&mut self, pod: &Pod, node: &Arc<str>) -> (Arc<Pod>, Option<Arc<str>>) {
        let before = match self.untold.remove(&pod.uid) {
            Some(earlier) => earlier.before,
            None => pod.nominated.clone(),
        };
        self.untold.insert(pod.uid.clone(), Untold { node: node.clone(), before });
        let pod = Arc::new(Pod { nominated: Some(node.clone()), ..Pod::clone(pod) });
        (pod.clone(), self.put(pod))
    }

    /// The node that was chosen for a pod, while the API server has not told of it.
    pub fn untold(&self, uid: &str) -> Option<Arc<str>> {
        self.untold.get(uid).map(|untold| untold.node.clone())
    }

    /// A waiting pod as the API server has it, with the node that was chosen here if the server tells what it told before.
    pub fn complete(&mut self, pod: Arc<Pod>) -> Arc<Pod> {
        match self.untold.get(&pod.uid) {
            Some(untold) if untold.before == pod.nominated => {
                Arc::new(Pod { nominated: Some(untold.node.clone()), ..Pod::clone(&pod) })
            }
            Some(_) => {
                self.untold.remove(&pod.uid);
                pod
            }
            None => pod,
        }
    }

    /// Nothing is kept for the pod any more. Returns the node that was.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<str>> {
        self.untold.remove(uid);
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

    /// The nodes that are kept for pods of at least this priority, with those pods, without the pod that asks.
    pub fn before(&self, pod: &Pod) -> Vec<(Arc<str>, Vec<Arc<Pod>>)> {
        let all = self.by_node.keys().map(|node| (node.clone(), self.before_on(node, pod)));
        all.filter(|(_, pods)| !pods.is_empty()).collect()
    }

    /// The pods of at least this priority that one node is kept for, without the pod that asks.
    pub fn before_on(&self, node: &str, pod: &Pod) -> Vec<Arc<Pod>> {
        let first = |other: &&Arc<Pod>| other.shape.priority >= pod.shape.priority && other.uid != pod.uid;
        self.by_node.get(node).into_iter().flatten().filter(first).cloned().collect()
    }

    /// Pods of less than this priority for which a node is kept.
    pub fn below(&self, node: &str, priority: i32) -> Vec<Arc<Pod>> {
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
    fn a_choice_stays_until_the_server_tells_something_new() {
        let mut nominations = Nominations::default();
        let named = |node: &str| waiting("p", 1, node);
        nominations.put(named("a"));
        let (chosen, kept) = nominations.choose(&named("a"), &Arc::from("b"));
        assert_eq!((chosen.nominated.as_deref(), kept.as_deref()), (Some("b"), Some("a")));
        // An answer from before.
        assert_eq!(nominations.complete(named("a")).nominated.as_deref(), Some("b"));
        assert_eq!(nominations.untold("p").as_deref(), Some("b"));
        assert_eq!(nominations.complete(named("b")).nominated.as_deref(), Some("b"));
        assert_eq!(nominations.untold("p"), None);
        assert_eq!(nominations.complete(named("a")).nominated.as_deref(), Some("a"));
    }

    #[test]
    fn a_node_is_kept_from_pods_that_are_no_more_important() {
        let mut nominations = Nominations::default();
        for (name, priority, node) in [("low", 1, "a"), ("high", 5, "a"), ("other", 9, "b")] {
            nominations.put(waiting(name, priority, node));
        }
        let before = |pod: &Pod| {
            let mut uids: Vec<_> = nominations.before_on("a", pod).iter().map(|pod| pod.uid.to_string()).collect();
            uids.sort();
            uids
        };
        assert_eq!(before(&waiting("new", 0, "")), ["high", "low"]);
        assert_eq!(before(&waiting("new", 5, "")), ["high"]);
        assert!(before(&waiting("high", 5, "a")).is_empty());
        let nodes: Vec<_> = nominations.before(&waiting("new", 6, "")).into_iter().map(|(node, _)| node).collect();
        assert_eq!(nodes, [Arc::<str>::from("b")]);
    }
}
