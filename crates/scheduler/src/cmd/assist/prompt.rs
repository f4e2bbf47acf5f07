//! Runs the dialogue of `plain` on standard input and output.

use std::io;
use std::io::BufRead;
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::channel;
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::app::App;
use super::app::AppEvent;
use super::plain::Action;
use super::plain::Plain;

/// A running kubelet reports progress within this time; containers that pull a large image report that.
const NO_PROGRESS_TIMEOUT: Duration = Duration::from_secs(300);
/// How many lines of input are read ahead.
const READ_AHEAD: usize = 16;

/// The output streams.
pub(super) struct Streams<O, E> {
    pub(super) out: O,
    pub(super) errors: E,
}

/// Lines of input as they arrive.
pub(super) type Answers = Receiver<io::Result<String>>;

/// Reads input in a thread, which blocks on the next line until the process exits.
pub(super) fn read_answers(input: impl BufRead + Send + 'static) -> Answers {
    let (sender, receiver) = channel(READ_AHEAD);
    std::thread::spawn(move || {
        for line in input.lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Runs the dialogue until the input ends or the user quits.
///
/// # Errors
/// A stream fails.
pub(super) async fn run<O: Write, E: Write>(
    app: &mut App,
    title: String,
    mut answers: Answers,
    streams: &mut Streams<O, E>,
) -> io::Result<()> {
    let mut plain = Plain::new(title);
    // One line is read ahead, so that the end of input is noticed while no question is open.
    let mut next: Option<Option<String>> = None;
    let mut give_up_at = Instant::now() + NO_PROGRESS_TIMEOUT;
    loop {
        let mut is_progress = true;
        let actions = match next.take() {
            Some(Some(line)) if plain.has_question() => plain.answer(&line, &mut app.store, now()),
            Some(None) if plain.may_quit() => return Ok(()),
            kept => {
                next = kept;
                tokio::select! {
                    answer = answers.recv(), if next.is_none() => {
                        next = Some(answer.transpose()?);
                        Vec::new()
                    }
                    event = app.next() => match event {
                        AppEvent::Changed => plain.changed(&app.store, now()),
                        AppEvent::Progress(uid, progress) => plain.progress(&uid, &progress, &app.store, now()),
                        AppEvent::Note(note) => {
                            is_progress = false;
                            vec![Action::PrintError(note)]
                        }
                    },
                    () = sleep_until(give_up_at), if plain.is_starting() => plain.give_up(&app.store, now()),
                }
            }
        };
        // Log messages are no progress of the pod.
        if is_progress && !actions.is_empty() {
            give_up_at = Instant::now() + NO_PROGRESS_TIMEOUT;
        }
        if perform(actions, app, streams)? {
            return Ok(());
        }
    }
}

/// Carries out actions; returns true to quit.
fn perform<O: Write, E: Write>(actions: Vec<Action>, app: &mut App, streams: &mut Streams<O, E>) -> io::Result<bool> {
    for action in actions {
        match action {
            Action::Print(sentence) => writeln!(streams.out, "{sentence}")?,
            Action::PrintError(sentence) => writeln!(streams.errors, "{sentence}")?,
            Action::Bind(pod, node) => app.bind(&pod, &node),
            Action::Quit => return Ok(true),
        }
    }
    streams.out.flush()?;
    Ok(false)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
