//! Writes the compiled form of Dockside's CRI proto file to standard output, for
//! `hack/tools/cri-api`:
//!
//! ```text
//! cargo run --example dump-proto > target/cri.bin
//! (cd hack/tools/cri-api && go run . ../../../target/cri.bin)
//! ```

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(dockside::proto::FILE_DESCRIPTOR_SET)
}
