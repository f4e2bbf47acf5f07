//! Has the conversation of `plain` with whoever is at the other end of two streams.

use std::io;
use std::io::BufRead;
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::channel;
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::desk::Desk;
use super::desk::Heard;
use super::plain::Act;
use super::plain::Plain;

/// A kubelet tells something within this time if it is there at all; large images take long, but their containers say
/// so.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many answers are read ahead.
const AHEAD: usize = 16;

/// Where it is spoken.
pub(super) struct Streams<O, E> {
    pub(super) out: O,
    pub(super) errors: E,
}

/// Lines, as they come.
pub(super) type Answers = Receiver<io::Result<String>>;

/// Reads answers in a thread of its own, which waits for the next one until the process ends.
pub(super) fn read_answers(input: impl BufRead + Send + 'static) -> Answers {
    let (sender, receiver) = channel(AHEAD);
    std::thread::spawn(move || {
        for line in input.lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Talks until the answers end or the person has enough.
///
/// # Errors
/// When a stream breaks.
pub(super) async fn talk<O: Write, E: Write>(
    desk: &mut Desk,
    title: String,
    mut answers: Answers,
    streams: &mut Streams<O, E>,
) -> io::Result<()> {
    let mut plain = Plain::new(title);
    // One answer is taken ahead, so that the end of the answers is seen even while none is asked for.
    let mut next: Option<Option<String>> = None;
    let mut patient_until = Instant::now() + PATIENCE;
    loop {
        let mut of_the_pod = true;
        let acts = match next.take() {
            Some(Some(line)) if plain.asks() => plain.answer(&line, &mut desk.world, now()),
            Some(None) if plain.may_end() => return Ok(()),
            kept => {
                next = kept;
                tokio::select! {
                    answer = answers.recv(), if next.is_none() => {
                        next = Some(answer.transpose()?);
                        Vec::new()
                    }
                    heard = desk.next() => match heard {
                        Heard::Changed => plain.changed(&desk.world, now()),
                        Heard::Step(uid, step) => plain.step(&uid, &step, &desk.world, now()),
                        Heard::Note(note) => {
                            of_the_pod = false;
                            vec![Act::Complain(note)]
                        }
                    },
                    () = sleep_until(patient_until), if plain.is_underway() => plain.give_up(&desk.world, now()),
                }
            }
        };
        // What changes elsewhere in the cluster is no news of the pod.
        if of_the_pod && !acts.is_empty() {
            patient_until = Instant::now() + PATIENCE;
        }
        if do_all(acts, desk, streams)? {
            return Ok(());
        }
    }
}

/// Does what is to be done; true at the end.
fn do_all<O: Write, E: Write>(acts: Vec<Act>, desk: &mut Desk, streams: &mut Streams<O, E>) -> io::Result<bool> {
    for act in acts {
        match act {
            Act::Say(sentence) => writeln!(streams.out, "{sentence}")?,
            Act::Complain(sentence) => writeln!(streams.errors, "{sentence}")?,
            Act::Bind(pod, node) => desk.bind(&pod, &node),
            Act::End => return Ok(true),
        }
    }
    streams.out.flush()?;
    Ok(false)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
