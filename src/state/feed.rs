//! The change feed: what happened to containers and sandboxes, in the order in which it happened.
//!
//! Each subscriber has room for a while's changes. One that is slower is told that it missed some, and has to look at
//! everything; it holds up nobody.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast;

/// Changes that wait for a subscriber, at most.
const ROOM: usize = 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Created,
    Started,
    Stopped,
    Deleted,
}

/// Something that happened to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of the container or sandbox.
    pub id: String,
    /// The container's sandbox, or the sandbox itself.
    pub sandbox_id: String,
    pub kind: ChangeKind,
}

/// The sender's side.
#[derive(Debug)]
pub(super) struct Feed {
    sender: broadcast::Sender<Change>,
    missed: Arc<AtomicU64>,
}

/// A subscriber's side.
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Change>,
    missed: Arc<AtomicU64>,
}

/// How the feed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedCounts {
    pub subscribers: u64,
    /// Changes that the slowest subscriber has yet to hear.
    pub waiting: u64,
    /// Changes that subscribers were too slow for, since the start.
    pub missed: u64,
}

/// What a subscriber hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Change(Change),
    /// Changes were missed.
    Missed(u64),
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed { sender: broadcast::channel(ROOM).0, missed: Arc::default() }
    }

    pub(super) fn tell(&self, id: &str, sandbox_id: &str, kind: ChangeKind) {
        // Without a subscriber, nobody wants to know.
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
    /// The next; `None` when the store is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(change) => Some(Heard::Change(change)),
            Err(broadcast::error::RecvError::Lagged(count)) => {
                self.missed.fetch_add(count, Ordering::Relaxed);
                Some(Heard::Missed(count))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_is_told_that_it_missed_something() {
        let feed = Feed::new();
        let (mut slow, mut quick) = (feed.subscribe(), feed.subscribe());
        for number in 0..=ROOM {
            feed.tell(&number.to_string(), "s", ChangeKind::Created);
            if let Some(Heard::Change(change)) = quick.next().await {
                assert_eq!(change.id, number.to_string());
            }
        }
        assert_eq!(slow.next().await, Some(Heard::Missed(1)));
        assert!(matches!(slow.next().await, Some(Heard::Change(change)) if change.id == "1"));
        let counts = FeedCounts { subscribers: 2, waiting: ROOM as u64 - 1, missed: 1 };
        assert_eq!(feed.counts(), counts);
    }
}
