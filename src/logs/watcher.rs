//! Notices that Docker wrote, without polling: one inotify instance for all containers.
//!
//! Every watch fires once. It is set before a step looks at the files, so nothing that Docker writes afterwards goes
//! unnoticed; and while a container writes at full speed, Docker pays for no notifications in between.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use inotify::EventMask;
use inotify::EventStream;
use inotify::Inotify;
use inotify::WatchDescriptor;
use inotify::WatchMask;
use inotify::Watches;
use parking_lot::Mutex;

use super::followed_log::FollowedLog;

/// Room for some hundred events.
const BUFFER: usize = 16 << 10;

/// Sets and removes watches.
pub(super) struct LogWatcher {
    table: Arc<Mutex<Table>>,
}

struct Table {
    watches: Watches,
    by_watch: HashMap<WatchDescriptor, Arc<FollowedLog>>,
}

/// The watches that fire.
pub(super) struct WatchEvents {
    table: Arc<Mutex<Table>>,
    stream: EventStream<Vec<u8>>,
}

impl LogWatcher {
    /// Makes the inotify instance. Called in a tokio runtime.
    pub(super) fn new() -> io::Result<(LogWatcher, WatchEvents)> {
        let inotify = Inotify::init()?;
        let table = Arc::new(Mutex::new(Table { watches: inotify.watches(), by_watch: HashMap::new() }));
        let stream = inotify.into_event_stream(vec![0; BUFFER])?;
        Ok((LogWatcher { table: Arc::clone(&table) }, WatchEvents { table, stream }))
    }

    /// Sets the watches of a log: on the directory, where Docker's next file appears, and on the file itself. The
    /// directory comes first: a file that appears in between is either found by its own watch or reported.
    pub(super) fn watch(&self, log: &Arc<FollowedLog>) -> io::Result<()> {
        let file = &log.docker_file;
        let written = WatchMask::MODIFY | WatchMask::MOVE_SELF | WatchMask::ONESHOT;
        let appeared = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONESHOT;
        let mut table = self.table.lock();
        let table = &mut *table;
        for (path, mask) in [(file.parent(), appeared), (Some(file.as_path()), written)] {
            let Some(path) = path else { continue };
            // The lock is held, so that `WatchEvents` cannot look the watch up before it is in the table.
            match table.watches.add(path, mask) {
                Ok(watch) => {
                    table.by_watch.insert(watch, Arc::clone(log));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the watches of a log.
    pub(super) fn unwatch(&self, log: &Arc<FollowedLog>) {
        let mut table = self.table.lock();
        let table = &mut *table;
        let own = table.by_watch.extract_if(|_, other| Arc::ptr_eq(other, log));
        for (watch, _) in own {
            // Fails for a watch that has fired: the kernel has removed it.
            let _ = table.watches.remove(watch);
        }
    }
}

impl WatchEvents {
    /// Waits for watches to fire, and returns the logs that may have grown; `None` when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Vec<Arc<FollowedLog>>> {
        let logs = match self.stream.next().await? {
            Ok(event) if event.mask.contains(EventMask::Q_OVERFLOW) => self.all(),
            // IGNORED follows each event of a one-shot watch, and usually finds nothing in the table. But the kernel
            // removes the watch a moment after it queued the event: a watch set again in between is removed too, and
            // IGNORED is then the only sign of it.
            Ok(event) => self.table.lock().by_watch.remove(&event.wd).into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "could not read the inotify events of Docker's logs");
                self.all()
            }
        };
        Some(logs)
    }

    /// All logs with a watch, for when events were lost.
    fn all(&self) -> Vec<Arc<FollowedLog>> {
        self.table.lock().by_watch.values().cloned().collect()
    }
}
