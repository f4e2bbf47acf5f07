//! The binary `dockside-scheduler`.

use std::process::ExitCode;

use clap::Parser;
use dockside_scheduler::cmd::Command;

fn main() -> ExitCode {
    let command = Command::parse();
    // One thread is enough: it waits for the API server most of the time. The runtime cannot be built only where epoll is
    // refused, and then nothing else works either.
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
