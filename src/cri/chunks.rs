//! Streamed lists: chunks that each fit into a client's limit for one message.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::Response;
use tonic::Status;

/// The messages of a streaming RPC.
pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Entries of one chunk. A container with long annotations takes some kilobytes, and a message has room for 16 MiB.
const ENTRIES: usize = 500;

/// Sends `items` in chunks, each made a message by `message`; no message for an empty list.
pub(super) fn chunked<T, M>(items: Vec<T>, message: impl Fn(Vec<T>) -> M) -> Response<Messages<M>>
where
    T: Send + 'static,
    M: Send + 'static,
{
    let mut messages = Vec::with_capacity(items.len().div_ceil(ENTRIES));
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        messages.push(Ok(message(items.by_ref().take(ENTRIES).collect())));
    }
    Response::new(Box::pin(tokio_stream::iter(messages)))
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    async fn lengths(count: usize) -> Vec<usize> {
        let chunks = chunked(vec![(); count], |chunk| chunk.len());
        chunks.into_inner().map(Result::unwrap).collect().await
    }

    #[tokio::test]
    async fn every_entry_is_in_one_chunk() {
        assert_eq!(lengths(0).await, Vec::<usize>::new());
        assert_eq!(lengths(ENTRIES).await, [ENTRIES]);
        assert_eq!(lengths(2 * ENTRIES + 1).await, [ENTRIES, ENTRIES, 1]);
    }
}
