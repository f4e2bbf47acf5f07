//! Forwards a process's output to the client, with read-ahead for a slow one (see `backpressure`).

use std::pin::pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;

use crate::container::ProcessState;
use crate::docker::Source;
use crate::error::Error;
use crate::stream::backpressure::ReadAhead;
use crate::stream::channels::Disconnected;
use crate::stream::status::SessionStatus;

use super::Channels;

/// Forwards output until there is no more; returns a failure when the client did not get all of it. `states` are those of
/// the process that writes.
pub(super) async fn forward_output(
    chunks: impl Stream<Item = Result<(Source, Bytes), Error>>,
    states: impl Stream<Item = ProcessState>,
    channels: &Channels,
) -> Result<Option<SessionStatus>, Disconnected> {
    let (mut chunks, mut states) = (pin!(chunks), pin!(states));
    let mut ahead = ReadAhead::default();
    while !ahead.is_finished() {
        tokio::select! {
            chunk = chunks.next(), if ahead.wants_output() => ahead.receive(chunk),
            sent = channels.write(ahead.front()), if ahead.front().is_some() => {
                sent?;
                ahead.pop_front();
            }
            Some(state) = states.next(), if ahead.wants_process_state() => ahead.set_process_state(state),
        }
    }
    Ok(ahead.failure().map(SessionStatus::Failure))
}

impl Channels {
    /// Waits while the client does not read. When the future is dropped, the chunk was not sent.
    async fn write(&self, chunk: Option<&(Source, Bytes)>) -> Result<(), Disconnected> {
        let (channel, bytes) = match chunk {
            Some((Source::Stdout, bytes)) => (&self.stdout, bytes),
            Some((Source::Stderr, bytes)) => (&self.stderr, bytes),
            None => return Ok(()),
        };
        match channel {
            Some(channel) => channel.write(bytes.clone()).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use tokio::sync::watch;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use crate::stream::backpressure::READ_AHEAD_EXITED;
    use crate::stream::backpressure::READ_AHEAD_RUNNING;
    use crate::stream::channels;
    use crate::stream::channels::Driver;
    use crate::stream::channels::Frame;
    use crate::stream::status::StatusFormat;

    use super::*;

    const CHUNK: usize = 64 << 10;

    /// A client with an output: its connection's driver, and the session's channels.
    fn client() -> (Driver, Channels) {
        let (driver, connection, close_signal) = channels::channels(&CancellationToken::new());
        let channels = Channels {
            stdin: None,
            stdout: Some(connection.writer(1)),
            stderr: None,
            resize: None,
            error: connection.writer(3),
            status_format: StatusFormat::Json,
            close_signal,
        };
        (driver, channels)
    }

    /// Output of `count` chunks, and how many of them have been read.
    fn output(count: usize) -> (impl Stream<Item = Result<(Source, Bytes), Error>>, watch::Receiver<usize>) {
        let (read, all_read) = watch::channel(0);
        let chunks = futures_util::stream::iter(0..=count).filter_map(move |number| {
            read.send_replace(number);
            let chunk = (number < count).then(|| Ok((Source::Stdout, Bytes::from_static(&[7; CHUNK]))));
            std::future::ready(chunk)
        });
        (chunks, all_read)
    }

    /// Forwards chunks of a process that has exited to a client that reads none until all are read from Docker; returns
    /// the failure, and how many chunks the client got.
    async fn forward_exited(count: usize) -> (Option<SessionStatus>, usize) {
        let (mut driver, channels) = client();
        let (output, mut read) = output(count);
        let client = async {
            read.wait_for(|read| *read == count).await.unwrap();
            let mut received = 0;
            while let Some(Frame::Data(1, bytes)) = driver.frames.recv().await {
                received += 1;
                assert_eq!(bytes.len(), CHUNK);
            }
            received
        };
        let forwarding = async {
            let states = stream::iter([ProcessState::Running, ProcessState::Exited]);
            let failure = forward_output(output, states, &channels).await.unwrap();
            drop(channels);
            failure
        };
        timeout(Duration::from_secs(10), async { tokio::join!(forwarding, client) }).await.unwrap()
    }

    #[tokio::test]
    async fn the_rest_of_an_exited_processs_output_is_read_from_docker_at_once() {
        let chunks = 2 * READ_AHEAD_RUNNING / CHUNK;
        assert_eq!(forward_exited(chunks).await, (None, chunks));
    }

    #[tokio::test]
    async fn output_dropped_for_a_client_that_does_not_read_is_reported() {
        let chunks = 2 * READ_AHEAD_EXITED / CHUNK;
        let (failure, received) = forward_exited(chunks).await;
        let expected = READ_AHEAD_EXITED - CHUNK..READ_AHEAD_EXITED + READ_AHEAD_RUNNING;
        assert!(expected.contains(&(received * CHUNK)), "{received} chunks");
        let Some(SessionStatus::Failure(reason)) = failure else { panic!("{failure:?}") };
        assert!(reason.contains(&format!("{} bytes", (chunks - received) * CHUNK)), "{reason}");
    }

    #[tokio::test]
    async fn a_running_process_waits_for_its_client() {
        let (_driver, channels) = client();
        let (output, read) = output(2 * READ_AHEAD_EXITED / CHUNK);
        let states = stream::iter([ProcessState::Running]).chain(stream::pending());
        let forwarding = forward_output(output, states, &channels);
        assert!(timeout(Duration::from_millis(300), forwarding).await.is_err());
        let read = *read.borrow() * CHUNK;
        assert!((READ_AHEAD_RUNNING..2 * READ_AHEAD_RUNNING).contains(&read), "{read}");
    }

    #[tokio::test]
    async fn a_process_whose_state_is_unknown_loses_no_output() {
        let (mut driver, channels) = client();
        let (output, read) = output(2 * READ_AHEAD_EXITED / CHUNK);
        let forwarding = forward_output(output, stream::pending(), &channels);
        let mut forwarding = std::pin::pin!(forwarding);
        assert!(timeout(Duration::from_millis(300), &mut forwarding).await.is_err());
        let (before, expected) = (*read.borrow() * CHUNK, READ_AHEAD_EXITED - CHUNK..2 * READ_AHEAD_EXITED);
        assert!(expected.contains(&before), "{before}");
        let client = async {
            let mut received = 0;
            while received < 2 * READ_AHEAD_EXITED / CHUNK {
                received += usize::from(matches!(driver.frames.recv().await, Some(Frame::Data(1, _))));
            }
        };
        let (failure, ()) = timeout(Duration::from_secs(10), async { tokio::join!(forwarding, client) }).await.unwrap();
        assert_eq!(failure.unwrap(), None);
    }

    #[tokio::test]
    async fn output_read_before_docker_failed_is_forwarded() {
        let (mut driver, channels) = client();
        let chunks = stream::iter([
            Ok((Source::Stdout, Bytes::from_static(b"last words"))),
            Err(Error::precondition("container a", "is gone")),
        ]);
        let failure = forward_output(chunks, stream::pending(), &channels).await.unwrap();
        assert_eq!(failure, Some(SessionStatus::Failure("container a is gone".to_owned())));
        let Some(Frame::Data(1, bytes)) = driver.frames.recv().await else { panic!("no output") };
        assert_eq!(bytes, "last words");
    }
}
