//! How many files may be open.
//!
//! Two files per logged container are more than the usual 1024 on a node that is full. Network plugins have the same limit
//! as Dockside: to give them back the old one would take a fork, which costs several times what they cost to start now.

use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::setrlimit;

/// Enough for any number of containers. Programs that close all files they might have open go through as many numbers.
const ENOUGH: u64 = 1 << 16;

/// Raises the soft limit of open files as far as the hard one lets. Where that cannot be done, there is room for fewer pods.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = soft.max(hard.min(ENOUGH));
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}
