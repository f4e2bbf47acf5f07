//! Nodes that already have the pod's images score higher, by image size. Images on few nodes count little, so that not
//! all pods go to the same node.

use super::MAX;
use super::Score;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::model::Pod;

pub(super) const SCORE: Score = Score { name: "ImageLocality", weight: 1, score };

const MIB: i64 = 1024 * 1024;
/// Below this, pulling takes no noticeable time.
const LOW: i64 = 23 * MIB;
/// Above this, per container, size makes no difference.
const HIGH_PER_CONTAINER: i64 = 1000 * MIB;

fn score(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let images: Vec<_> = pod.shape.images.iter().map(|image| (image, cluster.nodes_with_image(image))).collect();
    if images.iter().all(|(_, count)| *count == 0) {
        return Some(vec![0; nodes.len()]);
    }
    let high = HIGH_PER_CONTAINER * i64::try_from(images.len()).unwrap_or(i64::MAX);
    let points = |id: &NodeId| {
        let here = &cluster.node(*id).node.images;
        let sizes = images.iter().filter_map(|(image, count)| {
            let (_, size) = here.iter().find(|(name, _)| name == *image)?;
            Some(scaled(*size, *count, cluster.node_count()))
        });
        MAX * (sizes.sum::<i64>().clamp(LOW, high) - LOW) / (high - LOW)
    };
    Some(nodes.iter().map(points).collect())
}

/// The size, multiplied with the share of nodes that have the image.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn scaled(size: i64, having: usize, nodes: usize) -> i64 {
    (size as f64 * (having as f64 / nodes as f64)) as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::score::tests::points;

    #[test]
    fn nodes_with_the_image_score_by_its_size() {
        let image =
            |size: i64| json!({"status": {"images": [{"names": ["app:latest", "app@sha"], "sizeBytes": size}]}});
        let builder = Builder::default().node("a", image(1000 * MIB)).node("b", image(523 * MIB)).nodes(&["c"]);
        // Two of three nodes have it: 666 and 348 MiB count, on a scale from 23 to 1000.
        assert_eq!(points(&SCORE, &builder, json!({})), Some(vec![65, 33, 0]));
        let other = json!({"spec": {"containers": [{"name": "c", "image": "other"}]}});
        assert_eq!(points(&SCORE, &builder, other), Some(vec![0, 0, 0]));
    }
}
