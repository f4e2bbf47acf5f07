//! How far the log of a container got, kept in a small file for the next process.
//!
//! A checkpoint names two positions that belong together: every record before the one in Docker's file has its line
//! before the one in the CRI file. It may be old: `resume` counts what was written since. It is replaced by rename and
//! not flushed to the disk, since it outlives the death of Dockside, not of the machine, and with the machine all
//! containers die; a CRI file that is shorter than its checkpoint says is noticed.

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

use super::Error;
use super::Place;
use super::source::FileId;
use super::source::Source;

/// Raised when the meaning of a field changes.
const VERSION: u32 = 1;
/// How many bytes before a position tell that a file is the one meant: the time of a record and more. An inode's
/// number alone is given to the next file as soon as its own is removed.
const WITNESS: usize = 96;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    pub(super) place: Place,
    /// `None` before the first record.
    pub(super) read: Option<ReadMark>,
    pub(super) written: WriteMark,
    /// The time of the last record that was written; empty before the first.
    pub(super) last_time: String,
    /// The container had ended, and all it wrote is in the CRI file.
    pub(super) finished: bool,
}

/// A position in a file of Docker's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReadMark {
    pub(super) file: FileId,
    pub(super) offset: u64,
    /// The bytes before the position, in hexadecimal.
    witness: String,
}

/// The end of the CRI file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WriteMark {
    pub(super) file: FileId,
    pub(super) size: u64,
}

impl Checkpoint {
    pub(super) fn new(place: Place, written: WriteMark) -> Checkpoint {
        Checkpoint { version: VERSION, place, read: None, written, last_time: String::new(), finished: false }
    }
}

impl ReadMark {
    pub(super) fn new(source: &Source, offset: u64) -> io::Result<ReadMark> {
        Ok(ReadMark { file: source.id, offset, witness: witness(source, offset)? })
    }

    /// Whether this position is in that file. The device is not compared: it may have another number since the machine was
    /// started, and all files of one container are on the same.
    pub(super) fn is_in(&self, source: &Source) -> io::Result<bool> {
        Ok(source.id.inode == self.file.inode
            && source.len()? >= self.offset
            && witness(source, self.offset)? == self.witness)
    }
}

fn witness(source: &Source, offset: u64) -> io::Result<String> {
    let mut buffer = [0; WITNESS];
    let length = usize::try_from(offset).unwrap_or(WITNESS).min(WITNESS);
    let read = source.read_at(&mut buffer[..length], offset - length as u64)?;
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    Ok(buffer[..read].iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

/// The directory of checkpoints.
#[derive(Debug)]
pub(super) struct Checkpoints {
    directory: PathBuf,
}

impl Checkpoints {
    /// Opens the directory, making it where it is missing.
    pub(super) fn open(directory: PathBuf) -> Result<Checkpoints, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(Error::io("make the directory", &directory))?;
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

    /// The checkpoint of a container; `None` when there is none that can be read, which is logged.
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
                    "the checkpoint of a log is of another version"
                );
                None
            }
            Err(error) => {
                tracing::error!(container = id, %error, "the checkpoint of a log is damaged; its place is looked for in the log itself");
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
