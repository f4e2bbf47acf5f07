//! GetContainerEvents: each change with the whole pod's statuses, so that a kubelet need not ask.

use std::sync::Arc;

use tokio_stream::StreamExt;
use tonic::Response;
use tonic::Status;

use crate::clock::now_ns;
use crate::proto::ContainerEventResponse;
use crate::proto::ContainerEventType;
use crate::state::Change;
use crate::state::ChangeKind;
use crate::state::FeedItem;

use super::Watched;
use super::chunks::Messages;

/// The changes from now on. A client that was too slow gets the present state of every object in place of what it
/// missed.
pub(super) fn stream(watched: Watched) -> Response<Messages<ContainerEventResponse>> {
    let changes = watched.index.changes();
    let watched = Arc::new(watched);
    let heard = futures_util::stream::unfold(changes, async |mut changes| {
        let heard = changes.next().await?;
        Some((heard, changes))
    });
    let events = heard.map(move |heard| match heard {
        FeedItem::Change(change) => vec![watched.event(&change)],
        FeedItem::Missed(count) => {
            tracing::warn!(count, "a client of container events was too slow: it gets the present state");
            watched.present_state()
        }
    });
    let events = futures_util::StreamExt::flat_map(events, futures_util::stream::iter);
    Response::new(Box::pin(events.map(Ok::<_, Status>)))
}

impl Watched {
    fn event(&self, change: &Change) -> ContainerEventResponse {
        let kind = match change.kind {
            ChangeKind::Created => ContainerEventType::ContainerCreatedEvent,
            ChangeKind::Started => ContainerEventType::ContainerStartedEvent,
            ChangeKind::Stopped => ContainerEventType::ContainerStoppedEvent,
            ChangeKind::Deleted => ContainerEventType::ContainerDeletedEvent,
        };
        self.told(change.id.clone(), &change.sandbox_id, kind)
    }

    fn told(&self, container_id: String, sandbox_id: &str, kind: ContainerEventType) -> ContainerEventResponse {
        ContainerEventResponse {
            container_id,
            container_event_type: kind.into(),
            created_at: now_ns(),
            // Gone, when it was deleted.
            pod_sandbox_status: self.pods.status(sandbox_id, false).ok().map(|(status, _)| status),
            containers_statuses: self.containers.statuses_of(sandbox_id),
        }
    }

    fn present_state(&self) -> Vec<ContainerEventResponse> {
        let kind = |runs| match runs {
            true => ContainerEventType::ContainerStartedEvent,
            false => ContainerEventType::ContainerStoppedEvent,
        };
        let sandboxes = self.index.sandboxes.list().into_iter().map(|sandbox| {
            let id = sandbox.record.id.clone();
            self.told(id.clone(), &id, kind(sandbox.is_ready()))
        });
        let containers = self.index.containers.list().into_iter().map(|container| {
            let record = &container.record;
            self.told(record.id.clone(), &record.sandbox_id, kind(container.process.is_running()))
        });
        sandboxes.chain(containers).collect()
    }
}
