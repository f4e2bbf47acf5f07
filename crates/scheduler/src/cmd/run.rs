//! `run`: runs the scheduler.

use std::net::SocketAddr;

use clap::Args;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::Error;
use crate::api::Client;
use crate::lease;
use crate::log;
use crate::log::Level;
use crate::run;

#[derive(Args)]
pub(super) struct RunArgs {
    /// The address of /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:10261")]
    listen: SocketAddr,
    /// Use leader election: schedule only while holding the lease, so that several replicas can run
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// The namespace of the lease
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    lease_namespace: String,
    /// The name of the lease; replicas of one scheduler use the same
    #[arg(long, value_name = "NAME", default_value = "dockside-scheduler")]
    lease_name: String,
    /// The most bindings in flight
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    max_bindings: u16,
    /// The log level
    #[arg(long, value_enum, default_value_t = Level::Info)]
    log_level: Level,
    /// Log JSON objects, one per line
    #[arg(long)]
    log_json: bool,
}

pub(super) async fn run(client: Client, args: RunArgs, names: Vec<String>) -> Result<(), Error> {
    log::init(args.log_level, args.log_json);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let identity = format!("{}_{:016x}", host.trim(), fastrand::u64(..));
    let lease = lease::Settings { namespace: args.lease_namespace, name: args.lease_name, identity };
    let options = run::Options {
        names,
        address: args.listen,
        lease: args.leader_elect.then_some(lease),
        bindings: args.max_bindings.into(),
    };
    Ok(run::run(client, options, shutdown_signal()).await?)
}

/// Completes on SIGTERM or SIGINT.
pub(super) async fn shutdown_signal() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
