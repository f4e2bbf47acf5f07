//! The records, on disk and in memory.
//!
//! Identity is kept here and nowhere else. Docker merges an image's labels into those of a container, so an image can
//! forge labels; a record is written by Dockside alone, before Docker is asked to create anything. What a process does
//! is Docker's truth: `watch` and the verbs report it to the [`Store`].
//!
//! The [`Store`] is the only writer. Everything else holds an [`Index`], a cheap clone that can only read: List and
//! Status calls, stats, metrics and container events answer from it and ask Docker nothing.
//!
//! ```text
//! pod, container, watch --> Store   (a Writer for sandboxes and one for containers, locks, settings)
//!                             |
//!                             +--> files under the state directory
//!                             +--> Index (a Reader for each kind) --> cri, stats, metrics, stream
//!                             +--> change feed --> GetContainerEvents
//! ```
//!
//! This room knows nothing of gRPC servers or of Docker.

mod disk;
mod feed;
mod index;
mod locks;
mod object;
mod process;
mod record;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod unfinished;
mod writer;

pub use self::disk::Error;
pub use self::feed::Change;
pub use self::feed::ChangeKind;
pub use self::feed::Changes;
pub use self::feed::FeedCounts;
pub use self::feed::FeedItem;
pub use self::index::Index;
pub use self::index::LookupError;
pub use self::index::Reader;
pub use self::locks::Guard;
pub use self::object::Container;
pub use self::object::Kind;
pub use self::object::Object;
pub use self::object::Sandbox;
pub use self::process::Exit;
pub use self::process::Process;
pub use self::record::ContainerRecord;
pub use self::record::Identity;
pub use self::record::ImageSettings;
pub use self::record::NetworkRecord;
pub use self::record::Phase;
pub use self::record::Record;
pub use self::record::SandboxRecord;
pub use self::record::id_number;
pub use self::record::key_of;
pub use self::store::Leftovers;
pub use self::store::Store;
pub use self::unfinished::Unfinished;
pub use self::writer::Writer;
