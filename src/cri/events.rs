//! GetContainerEvents: each change with the statuses of the whole pod, so that a kubelet need not request them.

use std::sync::Arc;

use tokio_stream::StreamExt;
use tonic::Response;
use tonic::Status;

use crate::clock::now_ns;
use crate::container::Containers;
use crate::pod::Pods;
use crate::proto::ContainerEventResponse;
use crate::proto::ContainerEventType;
use crate::state::Change;
use crate::state::ChangeKind;
use crate::state::FeedItem;
use crate::state::Index;

use super::chunks::Messages;
use super::service::Service;

/// Makes events of changes.
pub(super) struct EventSource {
    index: Index,
    containers: Arc<Containers>,
    pods: Arc<Pods>,
}

/// The events from now on. A client that is too slow gets an event with the current state of every object in place of
/// those it missed.
pub(super) fn stream(source: EventSource) -> Response<Messages<ContainerEventResponse>> {
    let changes = source.index.changes();
    let changes = futures_util::stream::unfold(changes, async |mut changes| {
        let next = changes.next().await?;
        Some((next, changes))
    });
    let events = changes.map(move |next| match next {
        FeedItem::Change(change) => vec![source.change_event(&change)],
        FeedItem::Missed(count) => {
            tracing::warn!(count, "a client of container events was too slow; sending it the current state");
            source.current_state()
        }
    });
    let events = futures_util::StreamExt::flat_map(events, futures_util::stream::iter);
    Response::new(Box::pin(events.map(Ok::<_, Status>)))
}

impl EventSource {
    pub(super) fn new(service: &Service) -> EventSource {
        EventSource {
            index: service.index.clone(),
            containers: Arc::clone(&service.containers),
            pods: Arc::clone(&service.pods),
        }
    }

    fn change_event(&self, change: &Change) -> ContainerEventResponse {
        let kind = match change.kind {
            ChangeKind::Created => ContainerEventType::ContainerCreatedEvent,
            ChangeKind::Started => ContainerEventType::ContainerStartedEvent,
            ChangeKind::Stopped => ContainerEventType::ContainerStoppedEvent,
            ChangeKind::Deleted => ContainerEventType::ContainerDeletedEvent,
        };
        self.event(change.id.clone(), &change.sandbox_id, kind)
    }

    fn event(&self, container_id: String, sandbox_id: &str, kind: ContainerEventType) -> ContainerEventResponse {
        ContainerEventResponse {
            container_id,
            container_event_type: kind.into(),
            created_at: now_ns(),
            // None when the sandbox has been removed.
            pod_sandbox_status: self.pods.status(sandbox_id, false).ok().map(|(status, _)| status),
            containers_statuses: self.containers.statuses_of(sandbox_id),
        }
    }

    fn current_state(&self) -> Vec<ContainerEventResponse> {
        let kind = |running| match running {
            true => ContainerEventType::ContainerStartedEvent,
            false => ContainerEventType::ContainerStoppedEvent,
        };
        let sandboxes = self.index.sandboxes.list().into_iter().map(|sandbox| {
            let id = sandbox.record.id.clone();
            self.event(id.clone(), &id, kind(sandbox.is_ready()))
        });
        let containers = self.index.containers.list().into_iter().map(|container| {
            let record = &container.record;
            self.event(record.id.clone(), &record.sandbox_id, kind(container.process.is_running()))
        });
        sandboxes.chain(containers).collect()
    }
}
