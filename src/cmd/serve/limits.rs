//! The limit of open files.
//!
//! Two files for each container's log exceed the usual limit of 1024 on a full node. CNI plugins inherit the raised limit:
//! to restore the old one for them would take a fork, which costs several times what starting them costs now.

use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::setrlimit;

/// Enough for every container of a node. Not higher, because some programs call close for every number up to the limit.
const MAX_OPEN_FILES: u64 = 1 << 16;

/// Raises the soft limit of open files, at most to the hard limit. If that fails it is logged: fewer containers fit.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let limit = soft.max(hard.min(MAX_OPEN_FILES));
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard)
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}
