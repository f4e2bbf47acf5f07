//! The subcommands of the binary `dockside`.

pub mod pod;
pub mod serve;
