//! Properties of the demultiplexer that hold for any input: fuzzed by `hack/fuzz streams`, and tested here with a few
//! inputs.

use bytes::BytesMut;

use super::demux::Demux;
use super::demux::Source;

/// The output does not depend on how the input was cut, and is never longer than the input.
pub(crate) fn any_cut_gives_the_same_output(bytes: &[u8], chunk: usize) {
    let whole = demultiplex(bytes, bytes.len().max(1));
    assert_eq!(demultiplex(bytes, chunk), whole);
    let (stdout, stderr, _) = whole;
    assert!(stdout.len() + stderr.len() <= bytes.len());
}

fn demultiplex(bytes: &[u8], chunk: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut demux, mut received) = (Demux::default(), BytesMut::new());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(chunk) {
        received.extend_from_slice(chunk);
        loop {
            match demux.take(&mut received) {
                Ok(Some((Source::Stdout, bytes))) => stdout.extend_from_slice(&bytes),
                Ok(Some((Source::Stderr, bytes))) => stderr.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(_) => return (stdout, stderr, true),
            }
        }
    }
    (stdout, stderr, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn output_does_not_depend_on_the_cut(bytes in prop::collection::vec(any::<u8>(), 0..200), chunk in 1usize..50) {
            any_cut_gives_the_same_output(&bytes, chunk);
        }
    }
}
