//! The pause image: every pod's first container, shipped inside Dockside so that a node needs no
//! registry to start a pod.
//!
//! The image is one file, the program of `src/image/pause/pause.rs` as `build.rs` compiled it. It
//! is built in memory, as an archive for `docker load`, and depends on nothing but the
//! program: the same Dockside builds the same bytes, and so the same ids, on every node.
//!
//! The archive can be read two ways. Docker's own image store goes by `manifest.json` and names
//! images by their configuration; the containerd store goes by the OCI layout beside it
//! (`index.json`) and names images by their manifest. Both find the same blobs. With only
//! `manifest.json`, the containerd store would write a manifest itself, with an id that cannot be
//! known beforehand.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// The name the image is loaded under. Raise the tag with every change to the program or to the
/// configuration below.
pub(crate) const REFERENCE: &str = "dockside.io/pause:1";

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// A user without a name or rights anywhere. The program only waits for signals.
const USER: &str = "65535:65535";

/// A required field. A real date would make every build another image.
const CREATED: &str = "1970-01-01T00:00:00Z";

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The image as a tar archive: the body for Docker's `POST /images/load`.
pub(crate) fn archive() -> Vec<u8> {
    let Image { layer, config, manifest } = Image::build();

    let index = json!({
        "manifests": [{
            "annotations": {
                "io.containerd.image.name": REFERENCE,
                "org.opencontainers.image.ref.name": tag(),
            },
            "digest": manifest.digest,
            "mediaType": MANIFEST_TYPE,
            "platform": { "architecture": architecture(), "os": "linux" },
            "size": manifest.data.len(),
        }],
        "mediaType": INDEX_TYPE,
        "schemaVersion": 2,
    });
    let docker_manifest = json!([{
        "Config": config.path(),
        "Layers": [layer.path()],
        "RepoTags": [REFERENCE],
    }]);

    let mut tar = Tar::default();
    for blob in [&layer, &config, &manifest] {
        tar.add(&blob.path(), 0o644, &blob.data);
    }
    tar.add("index.json", 0o644, index.to_string().as_bytes());
    tar.add("manifest.json", 0o644, docker_manifest.to_string().as_bytes());
    tar.add("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar.finish()
}

/// `sha256:` and the digest of the image's configuration: its id in Docker's own image store.
pub(crate) fn config_digest() -> String {
    Image::build().config.digest
}

/// `sha256:` and the digest of the image's manifest: its id where Docker keeps images in the
/// containerd store.
pub(crate) fn manifest_digest() -> String {
    Image::build().manifest.digest
}

struct Image {
    layer: Blob,
    config: Blob,
    manifest: Blob,
}

impl Image {
    /// Keys are in alphabetical order here, so that the digests are the same whether or not some
    /// crate makes serde_json keep the written order.
    fn build() -> Self {
        let mut files = Tar::default();
        files.add("pause", 0o755, PROGRAM);
        let layer = Blob::new(files.finish());

        let config = Blob::json(&json!({
            "architecture": architecture(),
            "config": { "Entrypoint": ["/pause"], "User": USER },
            "created": CREATED,
            "history": [{ "created": CREATED, "created_by": "dockside" }],
            "os": "linux",
            "rootfs": { "diff_ids": [layer.digest], "type": "layers" },
        }));
        let manifest = Blob::json(&json!({
            "config": { "digest": config.digest, "mediaType": CONFIG_TYPE, "size": config.data.len() },
            "layers": [{ "digest": layer.digest, "mediaType": LAYER_TYPE, "size": layer.data.len() }],
            "mediaType": MANIFEST_TYPE,
            "schemaVersion": 2,
        }));
        Self { layer, config, manifest }
    }
}

/// Bytes with their digest, which is also where the archive keeps them.
struct Blob {
    digest: String,
    data: Vec<u8>,
}

impl Blob {
    fn new(data: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{:x}", Sha256::digest(&data)), data }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// An archive in memory. With `tar::Builder` each step could fail, for long paths and full disks,
/// neither of which occurs here.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    const BLOCK: usize = 512;

    /// Appends a file of root's, dated 1970. `path` has at most 100 bytes, the space a header has
    /// for it.
    fn add(&mut self, path: &str, mode: u32, data: &[u8]) {
        let mut header = Header::new_ustar();
        let name = &mut header.as_old_mut().name;
        debug_assert!(path.len() <= name.len(), "{path} is too long");
        for (to, from) in name.iter_mut().zip(path.bytes()) {
            *to = from;
        }
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        header.set_cksum();

        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(Self::BLOCK), 0);
    }

    /// Adds the two empty blocks that end an archive.
    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * Self::BLOCK, 0);
        self.0
    }
}

/// The processor in the spelling of image configurations.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn tag() -> &'static str {
    REFERENCE.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, ExitStatus};
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sys::signal::{self, Signal};
    use nix::unistd::Pid;

    use super::*;

    const PROGRAM_PATH: &str = concat!(env!("OUT_DIR"), "/pause");

    struct File {
        header: Header,
        data: Vec<u8>,
    }

    impl File {
        fn json(&self) -> Value {
            serde_json::from_slice(&self.data).unwrap()
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, File> {
        tar::Archive::new(archive)
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut data = Vec::new();
                entry.read_to_end(&mut data).unwrap();
                (entry.path().unwrap().display().to_string(), File { header: entry.header().clone(), data })
            })
            .collect()
    }

    fn sha256(data: &[u8]) -> String {
        format!("sha256:{:x}", Sha256::digest(data))
    }

    fn blob_path(digest: &Value) -> String {
        format!("blobs/sha256/{}", digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    }

    #[test]
    fn docker_store_finds_the_image_through_manifest_json() {
        let files = files(&archive());
        let manifest = files["manifest.json"].json();
        assert_eq!(manifest[0]["RepoTags"], json!([REFERENCE]));

        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(sha256(&config.data), config_digest());
        let config = config.json();
        assert_eq!(config["config"]["Entrypoint"], json!(["/pause"]));
        assert_eq!(config["os"], "linux");
        assert_eq!(config["history"].as_array().unwrap().len(), 1);

        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"], json!([sha256(&layer.data)]));
    }

    #[test]
    fn containerd_store_finds_the_image_through_index_json() {
        let files = files(&archive());
        assert_eq!(files["oci-layout"].json()["imageLayoutVersion"], "1.0.0");
        let index = files["index.json"].json();
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], REFERENCE);
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        assert_eq!(entry["digest"], manifest_digest());

        let manifest = &files[&blob_path(&entry["digest"])];
        assert_eq!(entry["size"], manifest.data.len());
        assert_eq!(sha256(&manifest.data), manifest_digest());
        let manifest = manifest.json();
        assert_eq!(manifest["config"]["digest"], config_digest());
        for descriptor in [&manifest["config"], &manifest["layers"][0]] {
            let blob = &files[&blob_path(&descriptor["digest"])];
            assert_eq!(descriptor["digest"], sha256(&blob.data));
            assert_eq!(descriptor["size"], blob.data.len());
        }
    }

    #[test]
    fn the_layer_holds_the_program_and_nothing_else() {
        let image = Image::build();
        let files = files(&image.layer.data);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["pause"]);
        let program = &files["pause"];
        assert_eq!(program.header.mode().unwrap(), 0o755);
        assert_eq!(program.header.mtime().unwrap(), 0);
        assert!(program.data == PROGRAM);
        assert!(PROGRAM.starts_with(b"\x7fELF"));
        assert!(PROGRAM.len() < 4096, "{} bytes", PROGRAM.len());
    }

    #[test]
    fn the_archive_is_the_same_every_time() {
        let first = archive();
        assert!(first == archive());
        assert_eq!(first.len() % Tar::BLOCK, 0);
        for (path, file) in files(&first) {
            assert_eq!(file.header.mtime().unwrap(), 0, "{path}");
            assert_eq!((file.header.uid().unwrap(), file.header.gid().unwrap()), (0, 0), "{path}");
        }
    }

    /// A running pause, killed when the test is over.
    struct Pause(Child);

    impl Pause {
        /// Starts `script` in a shell, with the program as `$0`.
        fn start(script: &str) -> Self {
            let pause = Self(Command::new("sh").args(["-c", script, PROGRAM_PATH]).spawn().unwrap());
            let comm = format!("/proc/{}/comm", pause.0.id());
            eventually("the program runs", || fs::read_to_string(&comm).unwrap() == "pause\n");
            pause
        }

        /// Waits until the program is in the system call in which it waits for signals.
        fn wait_until_asleep(&self) {
            let waiting = if cfg!(target_arch = "aarch64") { "137 " } else { "128 " };
            let syscall = format!("/proc/{}/syscall", self.0.id());
            eventually("the program waits", || fs::read_to_string(&syscall).unwrap().starts_with(waiting));
        }

        fn signal(&self, signal: Signal) {
            signal::kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
        }

        fn status(&mut self) -> ExitStatus {
            let mut status = None;
            eventually("the program exits", || {
                status = self.0.try_wait().unwrap();
                status.is_some()
            });
            status.unwrap()
        }

        fn children(&self) -> usize {
            let parent = self.0.id().to_string();
            let stats = fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("stat")).ok());
            stats
                .filter(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&parent))
                .count()
        }
    }

    impl Drop for Pause {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "timed out waiting until {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn pause_exits_with_status_0_on_term_and_int() {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut pause = Pause::start("exec \"$0\"");
            pause.wait_until_asleep();
            pause.signal(signal);
            let status = pause.status();
            assert_eq!((status.code(), status.signal()), (Some(0), None), "{signal}");
        }
    }

    #[test]
    fn pause_survives_being_stopped_and_continued() {
        let mut pause = Pause::start("exec \"$0\"");
        pause.wait_until_asleep();
        for signal in [Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGCHLD] {
            pause.signal(signal);
        }
        pause.wait_until_asleep();
        assert!(pause.0.try_wait().unwrap().is_none());
        pause.signal(Signal::SIGTERM);
        assert_eq!(pause.status().code(), Some(0));
    }

    /// A child of the shell is a child of the program that takes the shell's place, as an orphan in
    /// a pod is a child of process 1.
    #[test]
    fn pause_reaps_children_that_exited_before_and_after_its_start() {
        let pause = Pause::start("true & true & sleep 0.3 & sleep 0.3 & exec \"$0\"");
        eventually("no child is left", || pause.children() == 0);
    }
}
