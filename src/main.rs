//! The binary `dockside`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::Subcommand;
use dockside::cmd::pod;
use dockside::cmd::serve;
use dockside::config::ServeArgs;

/// Kubernetes pods on Docker Engine.
#[derive(Parser)]
#[command(name = "dockside", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the CRI, for a kubelet or crictl.
    Serve(ServeArgs),
    /// Run pods by hand, step by step, as a kubelet would.
    Pod(pod::PodArgs),
}

/// sysexits(3): the configuration is wrong.
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => match args.resolve() {
            Ok(config) => finish(block_on(serve::run(config))),
            Err(error) => {
                eprintln!("dockside: {error}");
                ExitCode::from(EX_CONFIG)
            }
        },
        Command::Pod(args) => finish(block_on(pod::run(args))),
    }
}

fn finish<E: std::fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dockside: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many threads serve calls, at most. More only wake each other: what takes long is done on threads of its own.
const MOST_WORKERS: usize = 4;

/// Half of the processors. The other half is for Docker, which does most of the work of every call; a call that one thread
/// serves alone costs less than one that is handed from thread to thread.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    (processors / 2).clamp(1, MOST_WORKERS)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers()).enable_all();
    // The runtime cannot be built only where threads or epoll are refused, and then nothing else works either.
    #[allow(clippy::expect_used)]
    let runtime = builder.build().expect("start the async runtime");
    let done = runtime.block_on(work);
    // A thread that waits for a dead file system must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}
