//! How many files may be open: for Dockside as many as the kernel lets it have, for what it starts as many as it was
//! given itself.
//!
//! Two files per logged container are more than the usual 1024 on a node that is full. Programs that still use
//! select(2) cannot have more than those, which is why the limit is left to each program to raise.

use std::sync::OnceLock;

use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::rlim_t;
use nix::sys::resource::setrlimit;
use tokio::process::Command;

/// The soft and the hard limit that this process was started with, once they were raised.
static GIVEN: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises the soft limit of open files to the hard one. Where that cannot be done, Dockside has room for fewer pods.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    match raised {
        Ok(given) => {
            let _ = GIVEN.set(given);
        }
        Err(error) => tracing::warn!(%error, "could not raise the limit of open files"),
    }
}

/// Starts `command` with the limits that this process was started with.
pub fn restore_open_files(command: &mut Command) {
    let Some(&(soft, hard)) = GIVEN.get() else { return };
    let restore = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?);
    // SAFETY: between fork and exec only what is async-signal-safe may be called: this is one system call, and allocates
    // nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(restore);
    }
}
