//! The subcommands of the binary `dockside`: a file each.

#[cfg(test)]
mod docs;
pub mod pod;
pub mod serve;
