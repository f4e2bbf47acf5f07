//! The binary `dockside-scheduler`.

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use dockside::scheduler::cases;

/// Gives waiting pods a node.
#[derive(Parser)]
#[command(name = "dockside-scheduler", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer cases on standard input, for tests: a cluster and a pod on each line.
    #[command(hide = true)]
    Filter,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Filter => cases::run(std::io::stdin().lock(), std::io::stdout().lock()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dockside-scheduler: {error}");
            ExitCode::FAILURE
        }
    }
}
