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
    /// Run pods by hand, step by step, as a kubelet does.
    Pod(pod::PodArgs),
}

/// The exit code for an invalid configuration, from sysexits(3).
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

/// The most worker threads of the async runtime. More threads only wake each other: blocking work has its own threads.
const MAX_WORKERS: usize = 4;

/// Half of the processors. The other half is for Docker, which does most of the work of each call, and a call costs less when it
/// stays on one thread.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    (processors / 2).clamp(1, MAX_WORKERS)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers()).enable_all();
    // This fails only where threads or epoll are unavailable, and then nothing else works either.
    #[allow(clippy::expect_used)]
    let runtime = builder.build().expect("start the async runtime");
    let done = runtime.block_on(work);
    // A thread blocked on an unresponsive file system must not keep the process from exiting.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}
