//! Entry points of the targets of `hack/fuzz`, which cannot see private rooms. Only in builds with `--cfg fuzzing`, and for
//! clippy.

/// Everything that holds of log conversion, for these bytes in pieces of `chunk`.
pub fn log_lines(bytes: &[u8], chunk: usize) {
    crate::logs::properties::any_file_becomes_whole_lines(bytes, chunk);
    crate::logs::properties::any_output_comes_out_as_written(bytes);
}

/// Everything that holds of WebSocket messages and of Docker's multiplexed output, for these bytes.
pub fn streams(bytes: &[u8], cut: u8) {
    crate::stream::properties::any_message_is_decoded_or_refused(bytes, cut);
    crate::docker::properties::any_cut_gives_the_same_output(bytes, usize::from(cut) + 1);
}
