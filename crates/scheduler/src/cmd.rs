//! The subcommands of `dockside-scheduler`.

mod assist;
mod bind;
mod explain;
mod nodes;
mod pods;
mod run;
mod table;

use std::sync::Arc;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use super::api;
use super::api::AccessArgs;
use super::api::Client;
use super::cases;
use super::model::Intern;
use super::model::Pod;
use super::queue::MonotonicTime;
use super::reflector;
use super::run as scheduler;
use super::store::Store;

/// Binds pending pods to nodes
#[derive(Parser)]
#[command(name = "dockside-scheduler", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    action: Action,
}

/// Flags of every subcommand.
#[derive(Args)]
struct Common {
    /// A scheduler name (spec.schedulerName) whose pods are handled; may be given several times
    #[arg(long, global = true, value_name = "NAME", default_value = "human-scheduler")]
    scheduler_name: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Schedule pods until stopped
    Run(run::RunArgs),
    /// List pending pods
    Pods,
    /// List nodes with their free resources
    Nodes,
    /// Explain for every node why a pod fits or not, and its score
    Explain(explain::ExplainArgs),
    /// Bind a pod to a node of your choice
    Bind(bind::BindArgs),
    /// Schedule by hand: choose a node for each pending pod, and watch it start
    Assist(assist::AssistArgs),
    /// Answer scheduling cases on standard input, for tests: a cluster and a pod per line
    #[command(hide = true)]
    Filter,
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A request to the API server failed, or its address and credentials could not be resolved.
    #[error(transparent)]
    Api(#[from] api::Error),
    /// The scheduler stopped by itself.
    #[error(transparent)]
    Scheduler(#[from] scheduler::Error),
    /// The hidden subcommand `filter` failed.
    #[error(transparent)]
    Cases(#[from] cases::Error),
    /// The request makes no sense in the current state of the cluster.
    #[error("{0}")]
    Refused(String),
}

impl Cli {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// The subcommand failed; the message is for the user.
    pub async fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        Ok(self.run_action().await?)
    }

    async fn run_action(self) -> Result<(), Error> {
        if let Action::Filter = self.action {
            return Ok(cases::run(std::io::stdin().lock(), std::io::stdout().lock())?);
        }
        let access = self.common.access.resolve()?;
        let server = access.server().to_owned();
        let client = Client::new(access)?;
        match self.action {
            Action::Run(args) => run::run(client, args, self.common.scheduler_name).await,
            Action::Pods => {
                let store = snapshot(&client, &self.common.scheduler_name).await?;
                print!("{}", pods::show(&store));
                Ok(())
            }
            Action::Nodes => {
                let store = snapshot(&client, &self.common.scheduler_name).await?;
                print!("{}", nodes::show(&store.cluster));
                Ok(())
            }
            Action::Explain(args) => {
                let mut store = snapshot(&client, &self.common.scheduler_name).await?;
                print!("{}", explain::show(&mut store, &args)?);
                Ok(())
            }
            Action::Bind(args) => bind::run(&client, &self.common.scheduler_name, &args).await,
            Action::Assist(args) => assist::run(&client, &self.common.scheduler_name, &server, &args).await,
            Action::Filter => Ok(()),
        }
    }
}

/// The current state of the cluster, from one list of every kind.
async fn snapshot(client: &Client, names: &[String]) -> Result<Store, Error> {
    let intern = Arc::new(Intern::default());
    let mut store = Store::new(names.iter().map(|name| intern.str(name)));
    for update in reflector::list(client, &intern).await? {
        store.apply(update, MonotonicTime::ZERO);
    }
    Ok(store)
}

/// The pending pod `name` or `namespace/name`.
fn pending_pod(store: &Store, name: &str) -> Result<Arc<Pod>, Error> {
    let is_it = |pod: &&Arc<Pod>| pod.to_string() == name || *pod.name == *name;
    let mut found = store.queue.pods().filter(is_it);
    match (found.next(), found.next()) {
        (Some(pod), None) => Ok(pod.clone()),
        (Some(one), Some(other)) => {
            Err(Error::Refused(format!("{name:?} is ambiguous: {one} and {other}; use namespace/name")))
        }
        (None, _) => Err(Error::Refused(format!("no pod {name:?} waits for a node (see dockside-scheduler pods)"))),
    }
}
