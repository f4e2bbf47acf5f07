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
use super::follow;
use super::model::Intern;
use super::model::Pod;
use super::queue::Moment;
use super::run as scheduler;
use super::world::World;

/// Gives waiting pods a node.
#[derive(Parser)]
#[command(name = "dockside-scheduler", version, arg_required_else_help = true)]
pub struct Command {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags of every subcommand.
#[derive(Args)]
struct Common {
    /// The scheduler whose pods it is about; may be given several times
    #[arg(long, global = true, value_name = "NAME", default_value = "human-scheduler")]
    scheduler_name: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Place pods as they come, until stopped
    Run(run::RunArgs),
    /// Show the pods that wait for a node
    Pods,
    /// Show the nodes with what is free on them
    Nodes,
    /// Tell of every node why a pod fits there or not, and how well
    Explain(explain::ExplainArgs),
    /// Bind a pod to a node of your choice
    Bind(bind::BindArgs),
    /// Be the scheduler: choose a node for each waiting pod, and see it come up
    Assist(assist::AssistArgs),
    /// Answer cases on standard input, for tests: a cluster and a pod on each line
    #[command(hide = true)]
    Filter,
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Api(#[from] api::Error),
    #[error(transparent)]
    Scheduler(#[from] scheduler::Error),
    #[error(transparent)]
    Cases(#[from] cases::Error),
    #[error("{0}")]
    Refused(String),
}

impl Command {
    /// Does what it says.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn run(self) -> Result<(), Error> {
        if let Verb::Filter = self.verb {
            return Ok(cases::run(std::io::stdin().lock(), std::io::stdout().lock())?);
        }
        let access = self.common.access.resolve()?;
        let server = access.server().to_owned();
        let client = Client::new(access)?;
        match self.verb {
            Verb::Run(args) => run::run(client, args, self.common.scheduler_name).await,
            Verb::Pods => {
                let world = snapshot(&client, &self.common.scheduler_name).await?;
                print!("{}", pods::show(&world));
                Ok(())
            }
            Verb::Nodes => {
                let world = snapshot(&client, &self.common.scheduler_name).await?;
                print!("{}", nodes::show(&world.cluster));
                Ok(())
            }
            Verb::Explain(args) => {
                let mut world = snapshot(&client, &self.common.scheduler_name).await?;
                print!("{}", explain::show(&mut world, &args)?);
                Ok(())
            }
            Verb::Bind(args) => bind::run(&client, &self.common.scheduler_name, &args).await,
            Verb::Assist(args) => assist::run(&client, &self.common.scheduler_name, &server, &args).await,
            Verb::Filter => Ok(()),
        }
    }
}

/// The world as it is now.
async fn snapshot(client: &Client, names: &[String]) -> Result<World, Error> {
    let intern = Arc::new(Intern::default());
    let mut world = World::new(names.iter().map(|name| intern.str(name)));
    for update in follow::list(client, &intern).await? {
        world.apply(update, Moment::ZERO);
    }
    Ok(world)
}

/// The waiting pod called `name` or `namespace/name`.
fn waiting_pod(world: &World, name: &str) -> Result<Arc<Pod>, Error> {
    let is_it = |pod: &&Arc<Pod>| pod.to_string() == name || *pod.name == *name;
    let mut found = world.queue.pods().filter(is_it);
    match (found.next(), found.next()) {
        (Some(pod), None) => Ok(pod.clone()),
        (Some(one), Some(other)) => {
            Err(Error::Refused(format!("there are {one} and {other}: say which by namespace/name")))
        }
        (None, _) => Err(Error::Refused(format!("no pod {name:?} waits for a node (see dockside-scheduler pods)"))),
    }
}
