//! How far a container's log has been converted, in a small file for the next process.
//!
//! A checkpoint has two positions that belong together: each entry before the one in the Docker log has its line before
//! the one in the CRI log. It may be old: `resume` counts what was written since. It is replaced by rename and not
//! synced to the disk: it has to survive a kill of Dockside, and after a crash of the machine `resume` notices a CRI
//! log that is shorter than its checkpoint says.

use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use super::docker_log::DockerFile;
use super::docker_log::FileId;
use super::error::Error;
use super::paths::LogPaths;

/// Raised when the meaning of a field changes.
const VERSION: u32 = 1;
/// How many bytes before a position identify its file together with the inode: they include the time of an entry. The
/// inode's number alone is reused as soon as the file is removed.
const PRECEDING: usize = 96;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    #[serde(rename = "place")]
    pub(super) paths: LogPaths,
    /// `None` before the first entry.
    pub(super) read: Option<ReadPosition>,
    pub(super) written: WritePosition,
    /// The time of the last line; empty before the first.
    pub(super) last_time: String,
    /// The container has exited, and all it wrote is in the CRI log.
    pub(super) finished: bool,
}

/// A position in the Docker log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReadPosition {
    pub(super) file: FileId,
    pub(super) offset: u64,
    /// The bytes before the position, in hexadecimal.
    #[serde(rename = "witness")]
    preceding: String,
}

/// The end of the CRI log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WritePosition {
    pub(super) file: FileId,
    pub(super) size: u64,
}

impl Checkpoint {
    /// The checkpoint of a log that has no entry yet.
    pub(super) fn new(paths: &LogPaths, written: WritePosition) -> Checkpoint {
        let paths = paths.clone();
        Checkpoint { version: VERSION, paths, read: None, written, last_time: String::new(), finished: false }
    }
}

impl ReadPosition {
    pub(super) fn new(file: &DockerFile, offset: u64) -> io::Result<ReadPosition> {
        Ok(ReadPosition { file: file.id, offset, preceding: preceding(file, offset)? })
    }

    /// Whether this position is in that file. The device is not compared: its number may change when the machine
    /// restarts, and all files of one container are on the same device.
    pub(super) fn is_in(&self, file: &DockerFile) -> io::Result<bool> {
        Ok(file.id.inode == self.file.inode
            && file.len()? >= self.offset
            && preceding(file, self.offset)? == self.preceding)
    }
}

fn preceding(file: &DockerFile, offset: u64) -> io::Result<String> {
    let mut buffer = [0; PRECEDING];
    let length = usize::try_from(offset).unwrap_or(PRECEDING).min(PRECEDING);
    let bytes = file.read_at(&mut buffer[..length], offset - length as u64)?;
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    Ok(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

/// The directory of checkpoints.
#[derive(Debug)]
pub(super) struct Checkpoints {
    directory: PathBuf,
}

impl Checkpoints {
    /// Opens the directory, and creates it if it is missing.
    pub(super) fn open(directory: PathBuf) -> Result<Checkpoints, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(Error::io("create the directory", &directory))?;
        Ok(Checkpoints { directory })
    }

    pub(super) fn write(&self, id: &str, checkpoint: &Checkpoint) -> Result<(), Error> {
        let path = self.path(id);
        let temporary = path.with_extension("tmp");
        let write = || -> io::Result<()> {
            let bytes = serde_json::to_vec(checkpoint)?;
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&temporary);
            Error::io("write the checkpoint", &path)(source)
        })
    }

    /// The checkpoint of a container; `None` when it has none, or, which is logged, when it cannot be read.
    pub(super) fn read(&self, id: &str) -> Option<Checkpoint> {
        let path = self.path(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(container = id, %error, "could not read the checkpoint of a log");
                return None;
            }
        };
        match serde_json::from_slice::<Checkpoint>(&bytes) {
            Ok(checkpoint) if checkpoint.version == VERSION => Some(checkpoint),
            Ok(checkpoint) => {
                tracing::error!(
                    container = id,
                    version = checkpoint.version,
                    "could not use the checkpoint of a log: it is of another version"
                );
                None
            }
            Err(error) => {
                tracing::error!(container = id, %error, "could not parse the checkpoint of a log; searching for the last line instead");
                None
            }
        }
    }

    pub(super) fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove the checkpoint", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 has been written from its beginning.
    const ON_DISK: &str = concat!(
        r#"{"version":1,"place":{"docker_file":"/var/lib/docker/containers/c1/c1-json.log","directory":"/var/log/pods/a_b_c","#,
        r#""path":"main/0.log"},"read":{"file":{"device":2049,"inode":11},"offset":3,"witness":"7d5d0a"},"#,
        r#""written":{"file":{"device":2050,"inode":12},"size":45},"last_time":"2026-01-01T00:00:00.5Z","finished":false}"#
    );

    #[test]
    fn the_format_on_disk_is_read_and_written_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c1.json");
        fs::write(&path, ON_DISK).unwrap();
        let checkpoints = Checkpoints::open(dir.path().to_owned()).unwrap();
        let paths = LogPaths {
            docker_file: "/var/lib/docker/containers/c1/c1-json.log".into(),
            log_directory: "/var/log/pods/a_b_c".into(),
            log_path: "main/0.log".into(),
        };
        let file = FileId { device: 2049, inode: 11 };
        let written = WritePosition { file: FileId { device: 2050, inode: 12 }, size: 45 };
        let expected = Checkpoint {
            read: Some(ReadPosition { file, offset: 3, preceding: "7d5d0a".to_owned() }),
            last_time: "2026-01-01T00:00:00.5Z".to_owned(),
            ..Checkpoint::new(&paths, written)
        };
        assert_eq!(checkpoints.read("c1"), Some(expected.clone()));
        fs::remove_file(&path).unwrap();
        checkpoints.write("c1", &expected).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), ON_DISK);
    }
}
