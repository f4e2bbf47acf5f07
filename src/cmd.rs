//! The subcommands of the binary `dockside`.

pub mod serve;
