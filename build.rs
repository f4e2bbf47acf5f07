//! Compiles the two things that are embedded in Dockside: the CRI protocol and the pause program.
//!
//! Neither needs more tools than Dockside itself: protox parses the proto file in this process,
//! and the pause program is Rust.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const PROTO_DIR: &str = "proto";
const PROTO_FILE: &str = "proto/runtime/v1/api.proto";
const PAUSE_FILE: &str = "src/image/pause/pause.rs";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    // Returning the error would print its escaped Debug form, and linker errors have many lines.
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<()> {
    // Without this line, cargo runs the script again after any change in the package.
    println!("cargo::rerun-if-changed=build.rs");
    let out_dir = PathBuf::from(required("OUT_DIR")?);

    compile_protocol(&out_dir.join("cri.bin"))?;
    compile_pause(&out_dir.join("pause"))
}

/// Writes `runtime.v1.rs` (messages, client and server) to `OUT_DIR`, and its file descriptor set to
/// `descriptor`.
fn compile_protocol(descriptor: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={PROTO_FILE}");

    let mut compiler = protox::Compiler::new([PROTO_DIR])?;
    compiler.open_file(PROTO_FILE)?;
    fs::write(descriptor, compiler.encode_file_descriptor_set())?;

    // Comments of the proto file become the documentation of the generated types.
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        .btree_map(".")
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]")
        .field_attribute("runtime.v1.KeyValue.value", "#[serde(with = \"crate::proto::text\")]")
        // Both contain secrets; `src/proto.rs` implements their Debug.
        .skip_debug(["runtime.v1.AuthConfig", "runtime.v1.KeyValue"])
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Compiles the pause program to a static executable for the architecture Dockside itself is
/// compiled for.
///
/// It cannot be a second binary of the package: cargo would link std and a libc, and it must exist
/// before Dockside's code, which includes it, is compiled.
fn compile_pause(program: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={PAUSE_FILE}");

    let (os, arch) = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ARCH")?);
    if os != "linux" || !["x86_64", "aarch64"].contains(&arch.as_str()) {
        return Err(format!(
            "Dockside runs on Linux on x86_64 and aarch64: \
             {PAUSE_FILE} has no system calls for {os} on {arch}"
        )
        .into());
    }

    let mut rustc = Command::new(required("RUSTC")?);
    rustc.arg(PAUSE_FILE).arg("-o").arg(program);
    rustc.args(["--crate-name=pause", "--crate-type=bin", "--edition=2024", "--cap-lints=warn"]);
    rustc.arg("--target").arg(required("TARGET")?);
    rustc.args(["-Copt-level=s", "-Cpanic=abort", "-Cforce-unwind-tables=no", "-Cstrip=symbols"]);
    // A fixed address, no startup code and no libraries: the program has its own `_start`.
    rustc.args(["-Crelocation-model=static", "-Crelro-level=off"]);
    rustc.args(["-Clink-arg=-static", "-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"]);
    rustc.arg("-Clink-arg=-Wl,--build-id=none,--no-eh-frame-hdr,-z,noseparate-code");
    if env::var("CARGO_CFG_TARGET_ENV")? == "musl" {
        // For musl, rustc links its own startup code in spite of the arguments above.
        rustc.arg("-Clink-self-contained=no");
    }
    // Set by cargo when a linker is configured for the target, as it is for cross-compilation.
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut argument = OsString::from("-Clinker=");
        argument.push(linker);
        rustc.arg(argument);
    }

    let program = rustc.get_program().display().to_string();
    let output = rustc.output().map_err(|error| format!("could not run {program}: {error}"))?;
    if !output.status.success() {
        let linker_output = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "could not compile {PAUSE_FILE}: {program} gave {}\n{linker_output}\n\
             It is linked by a C compiler: `cc`, or the one CARGO_TARGET_<TARGET>_LINKER names.",
            output.status,
        )
        .into());
    }
    Ok(())
}

fn required(name: &str) -> Result<OsString> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}").into())
}
