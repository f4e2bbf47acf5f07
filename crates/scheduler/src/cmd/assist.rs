//! `assist`: a person plays scheduler, at a full screen or line by line.
//!
//! ```text
//! follow --updates--> desk (the world) <--steps-- clerk --> bind, report, the bound pods
//!                      |      `--------orders------^
//!       terminal: screen, draw     prompt: plain
//! ```
//!
//! - `desk`: what is known, and how a binding is ordered; `clerk` carries it out; `steps`: what a pod's status tells;
//! - `facts`: what is told of pods and nodes; `text`: so that it fits; `log`: what came of the last bindings;
//! - `screen`: the full screen as a state, painted by `draw`; `plain`: the conversation as a state;
//! - `terminal` and `prompt` connect these with a person.
//!
//! The world and all decisions about it are the scheduler's own; nothing here decides whether a pod fits.

mod clerk;
mod desk;
mod draw;
mod facts;
mod log;
mod plain;
mod prompt;
mod screen;
mod steps;
mod terminal;
#[cfg(test)]
mod testing;
mod text;

use std::io;
use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;
use serde::de::IgnoredAny;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;
use tracing_subscriber::EnvFilter;

use self::desk::Desk;
use self::desk::Sources;
use super::Error;
use super::run::asked_to_stop;
use crate::api::Client;
use crate::api::Lane;
use crate::follow;
use crate::model::Intern;
use crate::world::World;

#[derive(Args)]
pub(super) struct AssistArgs {
    /// Line by line instead of a full screen, for pipes and screen readers; also where there is no terminal to paint on
    #[arg(long)]
    plain: bool,
}

/// Talks with the person until the person ends it. `server` is where the cluster is.
pub(super) async fn run(client: &Client, names: &[String], server: &str, args: &AssistArgs) -> Result<(), Error> {
    // Whoever may not ask is told at once, and not by an empty list.
    let _: IgnoredAny = client.get(Lane::Call, "/api/v1/nodes?limit=1").await?;
    let intern = Arc::new(Intern::default());
    let (sender, updates) = unbounded_channel();
    let _followers = follow::start(client, &intern, &sender);
    let clerk = clerk::hire(client, &intern);
    let world = World::new(names.iter().map(|name| intern.str(name)));
    let mut desk = Desk::new(world, Sources { updates, steps: clerk.steps, notes: listen() }, clerk.orders);
    let title = format!("dockside-scheduler for {} at {server}", names.join(", "));
    let ended = if args.plain || !has_screen() {
        let answers = prompt::read_answers(io::BufReader::new(io::stdin()));
        let mut streams = prompt::Streams { out: io::stdout(), errors: io::stderr() };
        tokio::select! {
            ended = prompt::talk(&mut desk, title, answers, &mut streams) => ended,
            () = asked_to_stop() => Ok(()),
        }
    } else {
        terminal::work(&mut desk, title, asked_to_stop()).await
    };
    drop(desk);
    // The clerk does not panic, and there is nothing to be done if it did.
    let _ = clerk.end.await;
    ended.map_err(|error| Error::Refused(format!("could not talk with you: {error}")))
}

/// Whether there is a terminal that can be painted on.
fn has_screen() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    io::stdin().is_terminal() && io::stdout().is_terminal() && !matches!(term.as_str(), "" | "dumb")
}

/// Has the log told to the person: the API server being away, for example.
fn listen() -> UnboundedReceiver<String> {
    let (sender, notes) = unbounded_channel();
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("dockside=info"))
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_level(false)
        .with_writer(move || Notes(sender.clone()));
    // Fails only where a log was started before, and then that one has the notes.
    let _ = log.try_init();
    notes
}

/// Each write is a line of the log.
struct Notes(UnboundedSender<String>);

impl io::Write for Notes {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Nobody listens any more only when everything ends.
        let _ = self.0.send(String::from_utf8_lossy(line).trim().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
