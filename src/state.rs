//! The records, on disk and in memory.
//!
//! Identity is kept here and nowhere else. Docker merges an image's labels into those of a container, so an image can
//! forge labels; a record is written by Dockside alone, before Docker is asked to create anything. What a process does
//! is Docker's truth: `refresh` and the verbs report it to the [`Store`].
//!
//! The [`Store`] has the only writers. Everything else holds an [`Index`], a cheap clone that can only read: List and
//! Status calls, stats, metrics and container events answer from it and ask Docker nothing.
//!
//! ```text
//! pod, container, refresh, watch --> Store   (a Writer for sandboxes and one for containers, locks, settings)
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
mod node_settings;
mod object;
mod process;
mod record;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod unfinished;
mod writer;

pub(crate) use self::disk::Error;
pub(crate) use self::feed::Change;
pub(crate) use self::feed::ChangeKind;
pub(crate) use self::feed::FeedItem;
pub(crate) use self::index::Index;
pub(crate) use self::index::LookupError;
pub(crate) use self::node_settings::NodeSettings;
pub(crate) use self::object::Container;
pub(crate) use self::object::Kind;
pub(crate) use self::object::Object;
pub(crate) use self::object::Sandbox;
pub(crate) use self::process::Exit;
pub(crate) use self::process::Process;
pub(crate) use self::record::ContainerRecord;
pub(crate) use self::record::Identity;
pub(crate) use self::record::ImageSettings;
pub(crate) use self::record::NetworkRecord;
pub(crate) use self::record::Phase;
pub(crate) use self::record::Record;
pub(crate) use self::record::SandboxRecord;
pub(crate) use self::record::id_number;
pub use self::record::key_of;
pub(crate) use self::store::Store;
pub(crate) use self::store::Stored;
pub(crate) use self::unfinished::Unfinished;
