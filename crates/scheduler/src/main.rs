//! The binary `dockside-scheduler`.

use std::process::ExitCode;

use clap::Parser;
use dockside_scheduler::Cli;

fn main() -> ExitCode {
    let command = Cli::parse();
    // One thread is enough: the process mostly waits for the API server. Building the runtime fails only where epoll is
    // unavailable, and then nothing else works either.
    #[allow(clippy::expect_used)]
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start the async runtime");
    match runtime.block_on(command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dockside-scheduler: {error}");
            ExitCode::FAILURE
        }
    }
}
