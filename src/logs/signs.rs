//! Waits for Docker to write, without asking again and again: one inotify instance for all containers.
//!
//! Every watch fires once. It is set before a step looks at the files, so nothing that Docker writes afterwards goes
//! unnoticed; and while a container writes at full speed, Docker pays for no notifications in between.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::Weak;

use futures_util::StreamExt;
use inotify::EventMask;
use inotify::Inotify;
use inotify::WatchDescriptor;
use inotify::WatchMask;
use inotify::Watches;
use parking_lot::Mutex;

use super::pool::Entry;
use super::pool::Pool;

/// Room for some hundred events.
const BUFFER: usize = 16 << 10;

/// See the module's documentation.
pub(super) struct Signs {
    table: Mutex<Table>,
}

struct Table {
    watches: Watches,
    by_watch: HashMap<WatchDescriptor, Arc<Entry>>,
}

impl Signs {
    /// The table of watches, and the stream of what happens to them.
    pub(super) fn new() -> io::Result<(Signs, Inotify)> {
        let inotify = Inotify::init()?;
        let table = Table { watches: inotify.watches(), by_watch: HashMap::new() };
        Ok((Signs { table: Mutex::new(table) }, inotify))
    }

    /// Sets the watches of a container: on its directory, where Docker's next file appears, and on the file itself. The
    /// directory comes first: a file that appears while this runs is either there when its turn comes, or it is told.
    pub(super) fn arm(&self, entry: &Arc<Entry>) -> io::Result<()> {
        let file = &entry.place.docker_file;
        let written = WatchMask::MODIFY | WatchMask::MOVE_SELF | WatchMask::ONESHOT;
        let appeared = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONESHOT;
        let mut table = self.table.lock();
        let table = &mut *table;
        for (path, mask) in [(file.parent(), appeared), (Some(file.as_path()), written)] {
            let Some(path) = path else { continue };
            // The lock is held, so the reader of events cannot look the watch up before it is in the table.
            match table.watches.add(path, mask) {
                Ok(watch) => {
                    table.by_watch.insert(watch, Arc::clone(entry));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes a container's watches back.
    pub(super) fn disarm(&self, entry: &Arc<Entry>) {
        let mut table = self.table.lock();
        let table = &mut *table;
        let own = table.by_watch.extract_if(|_, other| Arc::ptr_eq(other, entry));
        for (watch, _) in own {
            // One that has fired is gone already.
            let _ = table.watches.remove(watch);
        }
    }

    /// All containers that are waited for.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.table.lock().by_watch.values().cloned().collect()
    }

    fn fired(&self, watch: &WatchDescriptor) -> Option<Arc<Entry>> {
        self.table.lock().by_watch.remove(watch)
    }
}

/// Wakes the followers of what happens, for as long as `pool` lives.
pub(super) async fn read(inotify: Inotify, pool: Weak<Pool>) {
    let mut events = match inotify.into_event_stream(vec![0; BUFFER]) {
        Ok(events) => events,
        Err(error) => {
            tracing::error!(%error, "could not wait for Docker's logs");
            return;
        }
    };
    while let Some(event) = events.next().await {
        let Some(pool) = pool.upgrade() else { return };
        match event {
            Ok(event) if event.mask.contains(EventMask::Q_OVERFLOW) => pool.wake_all(),
            // IGNORED follows each event of a watch that fires once, and finds nothing to do then. But the kernel takes
            // the watch away a moment after it has told of the event: when it was set again in between, IGNORED is all
            // that says it is gone.
            Ok(event) => {
                if let Some(entry) = pool.signs.fired(&event.wd) {
                    pool.wake(&entry);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not read what happened to Docker's logs");
                pool.wake_all();
            }
        }
    }
}
