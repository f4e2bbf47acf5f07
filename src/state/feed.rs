//! The change feed: changes of containers and sandboxes, in the order in which they were made.
//!
//! The feed buffers the last changes for all subscribers. A subscriber that falls further behind gets the number of
//! changes it missed, and has to list everything; the writer never waits for it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast;

/// The most changes that are buffered for the slowest subscriber.
const CAPACITY: usize = 1024;

/// What kind of change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// The object entered the index.
    Created,
    /// Its process started.
    Started,
    /// Its process exited.
    Stopped,
    /// The object was removed.
    Deleted,
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The id of the container or sandbox.
    pub id: String,
    /// The id of the container's sandbox, or of the sandbox itself.
    pub sandbox_id: String,
    /// What kind of change it was.
    pub kind: ChangeKind,
}

/// The publisher's side.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    sender: broadcast::Sender<Change>,
    missed: Arc<AtomicU64>,
}

/// A subscriber's side.
#[derive(Debug)]
pub(crate) struct Changes {
    receiver: broadcast::Receiver<Change>,
    missed: Arc<AtomicU64>,
}

/// Counts of the feed, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeedCounts {
    /// Subscribers now.
    pub subscribers: u64,
    /// Changes that the slowest subscriber has yet to read.
    pub waiting: u64,
    /// Changes that slow subscribers missed, since the start.
    pub missed: u64,
}

/// What a subscriber gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FeedItem {
    /// The next change.
    Change(Change),
    /// The subscriber was too slow and missed so many changes.
    Missed(u64),
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed { sender: broadcast::channel(CAPACITY).0, missed: Arc::default() }
    }

    pub(super) fn publish(&self, id: &str, sandbox_id: &str, kind: ChangeKind) {
        // It fails only without subscribers.
        let _ = self.sender.send(Change { id: id.to_owned(), sandbox_id: sandbox_id.to_owned(), kind });
    }

    pub(super) fn subscribe(&self) -> Changes {
        Changes { receiver: self.sender.subscribe(), missed: Arc::clone(&self.missed) }
    }

    pub(super) fn counts(&self) -> FeedCounts {
        FeedCounts {
            subscribers: self.sender.receiver_count() as u64,
            waiting: self.sender.len() as u64,
            missed: self.missed.load(Ordering::Relaxed),
        }
    }
}

impl Changes {
    /// The next item; `None` once the store and every index are dropped. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<FeedItem> {
        match self.receiver.recv().await {
            Ok(change) => Some(FeedItem::Change(change)),
            Err(broadcast::error::RecvError::Lagged(count)) => {
                self.missed.fetch_add(count, Ordering::Relaxed);
                Some(FeedItem::Missed(count))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_gets_the_number_of_changes_it_missed() {
        let feed = Feed::new();
        let (mut slow, mut quick) = (feed.subscribe(), feed.subscribe());
        for number in 0..=CAPACITY {
            feed.publish(&number.to_string(), "s", ChangeKind::Created);
            if let Some(FeedItem::Change(change)) = quick.next().await {
                assert_eq!(change.id, number.to_string());
            }
        }
        assert_eq!(slow.next().await, Some(FeedItem::Missed(1)));
        assert!(matches!(slow.next().await, Some(FeedItem::Change(change)) if change.id == "1"));
        let counts = FeedCounts { subscribers: 2, waiting: CAPACITY as u64 - 1, missed: 1 };
        assert_eq!(feed.counts(), counts);
    }
}
