//! Resizes a process's terminal as the client's changes: JSON objects on the resize channel.

use std::convert::Infallible;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use crate::container::Containers;
use crate::container::ExecProcess;
use crate::docker::TerminalSize;
use crate::error::Error;
use crate::stream::channels::Reader;
use crate::stream::channels::Received;

/// Bytes kept of a message that is not complete. A size is two small numbers; what is longer is not one.
const MESSAGE_LIMIT: usize = 4 << 10;
/// How long a resize may take before the next size is read.
const RESIZE_TIMEOUT: Duration = Duration::from_secs(10);

/// The terminal to resize.
pub(super) enum Terminal<'a> {
    Exec(&'a ExecProcess),
    Container(&'a Containers, &'a str),
}

impl Terminal<'_> {
    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        match self {
            Terminal::Exec(process) => process.resize(size).await,
            Terminal::Container(containers, id) => containers.resize(id, size).await,
        }
    }
}

/// Applies the sizes that the client sends, also those sent before the process has started. Never returns: the session
/// lasts until the process exits.
pub(super) async fn forward_resizes(sizes: Option<Reader>, terminal: Terminal<'_>) -> Infallible {
    if let Some(mut sizes) = sizes {
        let mut buffer = Vec::new();
        while let Received::Data(bytes) = sizes.next().await {
            buffer.extend_from_slice(&bytes);
            for size in take_sizes(&mut buffer) {
                match timeout(RESIZE_TIMEOUT, terminal.resize(size)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "could not resize a terminal"),
                    Err(_) => tracing::debug!("could not resize a terminal within {RESIZE_TIMEOUT:?}"),
                }
            }
        }
    }
    std::future::pending().await
}

/// client-go's `remotecommand.TerminalSize`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Removes the complete sizes from the front of `buffer`: JSON objects, one after the other. Sizes of zero, which a client
/// without a terminal sends, are skipped; data that is not a size is dropped.
fn take_sizes(buffer: &mut Vec<u8>) -> Vec<TerminalSize> {
    let mut objects = serde_json::Deserializer::from_slice(buffer).into_iter::<Size>();
    let mut sizes = Vec::new();
    let malformed = loop {
        match objects.next() {
            Some(Ok(Size { width, height })) if width > 0 && height > 0 => sizes.push(TerminalSize { width, height }),
            Some(Ok(_)) => {}
            Some(Err(error)) if error.is_eof() => break false,
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    let used = objects.byte_offset();
    if malformed || buffer.len() - used > MESSAGE_LIMIT {
        buffer.clear();
    } else {
        buffer.drain(..used);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> (Vec<TerminalSize>, String) {
        let mut buffer = text.as_bytes().to_vec();
        let sizes = take_sizes(&mut buffer);
        (sizes, String::from_utf8(buffer).unwrap())
    }

    #[test]
    fn sizes_may_follow_each_other_and_be_cut_anywhere() {
        let (found, rest) = sizes(r#"{"Width":80,"Height":24}{"Width":0,"Height":0}{"Width":120,"Hei"#);
        assert_eq!(found, [TerminalSize { width: 80, height: 24 }]);
        let (found, rest) = sizes(&format!("{rest}ght\":40}}"));
        assert_eq!((found, rest.as_str()), (vec![TerminalSize { width: 120, height: 40 }], ""));
    }

    #[test]
    fn data_that_is_not_a_size_is_dropped() {
        assert_eq!(sizes("hello"), (vec![], String::new()));
        assert_eq!(sizes(&format!("{{\"Width\":{}", " ".repeat(MESSAGE_LIMIT))), (vec![], String::new()));
    }
}
