//! The records: what Dockside promised its clients, on disk and in memory.
//!
//! Identity lives here and nowhere else: Docker merges an image's labels into those of a container, so labels
//! can be forged by an image, while a record is written by Dockside alone, before Docker is asked to create
//! anything. What a process does is Docker's truth; `watch` and the verbs report it to the [`Store`], and every
//! List and Status call answers from there.
//!
//! This room knows nothing of gRPC servers or of Docker.

mod disk;
mod feed;
mod half;
mod locks;
mod process;
mod record;
mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use self::disk::Error;
pub use self::feed::Change;
pub use self::feed::ChangeKind;
pub use self::feed::Changes;
pub use self::feed::FeedCounts;
pub use self::feed::Heard;
pub use self::half::HalfMade;
pub use self::locks::Guard;
pub use self::process::Exit;
pub use self::process::Process;
pub use self::record::ContainerRecord;
pub use self::record::Identity;
pub use self::record::ImageSettings;
pub use self::record::NetworkRecord;
pub use self::record::Phase;
pub use self::record::SandboxRecord;
pub use self::record::VERSION;
pub use self::record::id_number;
pub use self::record::key_of;
pub use self::store::Container;
pub use self::store::HalfMadeAtStart;
pub use self::store::Resolved;
pub use self::store::Sandbox;
pub use self::store::Store;
