//! `assist`: a user schedules by hand, on a full screen or line by line.
//!
//! ```text
//! reflector --updates--> app (store) <--progress-- binder --> bind, report, watches of bound pods
//!                         |      `------requests------^
//!          terminal: screen, draw     prompt: plain
//! ```
//!
//! - `app`: the store and the bindings in flight; `binder`: carries out bindings and follows the bound pods;
//!   `progress`: derives a pod's progress from its status;
//! - `view`: pods and nodes prepared for display; `text`: fits text to a width; `log`: the last bindings and messages;
//! - `screen`: the full screen as a state machine, rendered by `draw`; `plain`: the dialogue as a state machine;
//! - `terminal` and `prompt` connect these to the user.
//!
//! The store and every decision are the scheduler's own; nothing here decides whether a pod fits.

mod app;
mod binder;
mod draw;
mod log;
mod plain;
mod progress;
mod prompt;
mod screen;
mod terminal;
#[cfg(test)]
mod testing;
mod text;
mod view;

use std::io;
use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;
use serde::de::IgnoredAny;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;
use tracing_subscriber::EnvFilter;

use self::app::App;
use self::app::Receivers;
use super::Error;
use super::run::shutdown_signal;
use crate::api::Client;
use crate::api::Pool;
use crate::model::Intern;
use crate::reflector;
use crate::store::Store;

#[derive(Args)]
pub(super) struct AssistArgs {
    /// Line by line instead of a full screen, for pipes and screen readers; the default where there is no terminal
    #[arg(long)]
    plain: bool,
}

/// Interacts with the user until the user quits. `server` is shown in the title.
pub(super) async fn run(client: &Client, names: &[String], server: &str, args: &AssistArgs) -> Result<(), Error> {
    // Fail early if the API server is unreachable or forbids listing, rather than show an empty list.
    let _: IgnoredAny = client.get(Pool::Call, "/api/v1/nodes?limit=1").await?;
    let intern = Arc::new(Intern::default());
    let (sender, updates) = unbounded_channel();
    let _reflectors = reflector::start(client, &intern, &sender);
    let binder = binder::start(client, &intern);
    let store = Store::new(names.iter().map(|name| intern.str(name)));
    let mut app =
        App::new(store, Receivers { updates, progress: binder.progress, notes: redirect_log() }, binder.requests);
    let title = format!("dockside-scheduler for {} at {server}", names.join(", "));
    let result = if args.plain || !has_screen() {
        let answers = prompt::read_answers(io::BufReader::new(io::stdin()));
        let mut streams = prompt::Streams { out: io::stdout(), errors: io::stderr() };
        tokio::select! {
            result = prompt::run(&mut app, title, answers, &mut streams) => result,
            () = shutdown_signal() => Ok(()),
        }
    } else {
        terminal::run(&mut app, title, shutdown_signal()).await
    };
    drop(app);
    // The task does not panic; there is nothing to clean up if it did.
    let _ = binder.end.await;
    result.map_err(|error| Error::Refused(format!("could not read input or write output: {error}")))
}

/// Whether the full screen can be used.
fn has_screen() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    io::stdin().is_terminal() && io::stdout().is_terminal() && !matches!(term.as_str(), "" | "dumb")
}

/// Redirects log messages to the user, for example when the API server is unavailable.
fn redirect_log() -> UnboundedReceiver<String> {
    let (sender, notes) = unbounded_channel();
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("dockside_scheduler=info"))
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_level(false)
        .with_writer(move || Notes(sender.clone()));
    // Fails only if logging is already initialised; the messages then go there.
    let _ = log.try_init();
    notes
}

/// Sends each write, which is one line of the log.
struct Notes(UnboundedSender<String>);

impl io::Write for Notes {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The receiver is dropped only at shutdown.
        let _ = self.0.send(String::from_utf8_lossy(line).trim().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
