//! The subcommands of the binary `dockside`.

#[cfg(test)]
mod docs;
pub mod pod;
pub mod serve;
