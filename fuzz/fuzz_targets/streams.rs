//! What else comes from outside on a stream: WebSocket messages of clients, and Docker's multiplexed output.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (bytes, cut) = input;
    dockside::fuzzing::streams(&bytes, cut);
});
