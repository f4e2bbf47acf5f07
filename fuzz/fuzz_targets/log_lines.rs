//! From Docker's json-file to CRI lines, for any bytes: as the file itself, and as what a container wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (bytes, cut) = input;
    dockside::fuzzing::log_lines(&bytes, usize::from(cut) + 1);
});
