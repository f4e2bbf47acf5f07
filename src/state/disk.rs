//! Records as files: one file each, so that damage costs one record only.
//!
//! Each change appends the complete record as one line of JSON; the last complete line counts. So a change costs one
//! flush of one file. Writing a new file and flushing its directory each time would take a quarter of Dockside's share of
//! a pod's start. A file above a size limit is replaced by one with the last record only.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;

use super::record::VERSION;

/// A file longer than this is replaced by the next change, in bytes.
const SIZE_LIMIT: u64 = 64 << 10;

/// Why a record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be used.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// A verb with its object, such as `remove the record`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The index was not reconciled with Docker yet.
    #[error("Docker has not been reached since the start, so it is not known which containers run")]
    NotSynced,
    /// The record cannot be written as JSON.
    #[error("could not encode the record for {}: {source}", path.display())]
    Encode {
        /// The record's file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The task that wrote the record panicked.
    #[error("could not write {}: {source}", path.display())]
    Task {
        /// The record's file.
        path: PathBuf,
        /// The cause.
        source: tokio::task::JoinError,
    },
}

/// One directory of records.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the directory, makes it if it is missing (mode 0700, as configurations hold secrets), and removes temporary
    /// files of interrupted writes.
    pub(super) fn open(path: PathBuf) -> Result<Directory, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|source| Error::Io {
            doing: "make the directory",
            path: path.clone(),
            source,
        })?;
        let directory = Directory { path };
        for file in directory.files()? {
            if file.extension().is_some_and(|e| e == "tmp") {
                // Never renamed, so its write was never acknowledged.
                let _ = fs::remove_file(file);
            }
        }
        Ok(directory)
    }

    /// Writes the record `key` and flushes it to disk. Callers serialise writes of one key.
    pub(super) async fn write<T: Serialize>(&self, key: &str, record: &T) -> Result<(), Error> {
        self.write_line(key, record, true).await
    }

    /// As [`Directory::write`] without the flush: it survives a kill of this process, but not a crash of the machine.
    pub(super) async fn write_unflushed<T: Serialize>(&self, key: &str, record: &T) -> Result<(), Error> {
        self.write_line(key, record, false).await
    }

    async fn write_line<T: Serialize>(&self, key: &str, record: &T, flush: bool) -> Result<(), Error> {
        let path = self.file(key);
        let mut line = serde_json::to_vec(record).map_err(|source| Error::Encode { path: path.clone(), source })?;
        line.push(b'\n');
        let task_path = path.clone();
        tokio::task::spawn_blocking(move || write(&task_path, &line, flush))
            .await
            .map_err(|source| Error::Task { path, source })?
    }

    /// Removes the record `key`; one that is missing is fine.
    pub(super) async fn remove(&self, key: &str) -> Result<(), Error> {
        let path = self.file(key);
        match tokio::fs::remove_file(&path).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { doing: "remove the record", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether a record `key` exists, readable or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.file(key).exists()
    }

    /// The record `key`; `None` if it is missing or cannot be read.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = fs::read(self.file(key)).ok()?;
        serde_json::from_slice(&bytes[newest(&bytes)]).ok()
    }

    /// All readable records, and the keys of damaged ones: such a file is logged and renamed to `*.damaged`. One that a
    /// newer Dockside wrote is left alone.
    pub(super) fn read_all<T: DeserializeOwned>(&self) -> Result<(Vec<T>, Vec<String>), Error> {
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for path in self.files()? {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {
                    tracing::error!(path = %path.display(), "a newer Dockside wrote this record; it is left alone");
                }
                Err(error) => {
                    tracing::error!(path = %path.display(), error, "a record is damaged; it is renamed to *.damaged");
                    let _ = fs::rename(&path, path.with_extension("damaged"));
                    damaged.extend(path.file_stem().map(|key| key.to_string_lossy().into_owned()));
                }
            }
        }
        Ok((records, damaged))
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let read =
            || -> io::Result<Vec<PathBuf>> { fs::read_dir(&self.path)?.map(|entry| Ok(entry?.path())).collect() };
        read().map_err(|source| Error::Io { doing: "read the directory", path: self.path.clone(), source })
    }

    fn file(&self, key: &str) -> PathBuf {
        self.path.join(format!("{key}.json"))
    }
}

/// A record; `None` for one of a newer Dockside, whose new fields a rewrite would lose.
fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        version: u32,
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let newest = newest(&bytes);
    let whole = if newest.is_empty() { &bytes } else { &bytes[newest.clone()] };
    let head: Head = serde_json::from_slice(whole).map_err(|error| error.to_string())?;
    if head.version > VERSION {
        return Ok(None);
    }
    if !bytes[newest.end..].trim_ascii().is_empty() {
        tracing::warn!(path = %path.display(), "the last change of this record is torn and was dropped");
        // A line appended behind the torn one could not be read.
        let _ = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(newest.end as u64));
    }
    serde_json::from_slice(whole).map(Some).map_err(|error| error.to_string())
}

/// Where the last complete record of a file is; empty if there is none.
fn newest(bytes: &[u8]) -> Range<usize> {
    let mut records = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    let mut newest = 0..0;
    loop {
        let begin = records.byte_offset();
        match records.next() {
            Some(Ok(_)) => newest = begin..records.byte_offset(),
            _ => return newest,
        }
    }
}

fn write(path: &Path, line: &[u8], flush: bool) -> Result<(), Error> {
    match append(path, line, flush) {
        Ok(true) => Ok(()),
        Ok(false) => replace(path, line),
        Err(source) => Err(Error::Io { doing: "write the record", path: path.to_owned(), source }),
    }
}

/// Appends the line to a file, and flushes it if `flush`. Does nothing and returns false if the file is missing or has to
/// be replaced.
fn append(path: &Path, line: &[u8], flush: bool) -> io::Result<bool> {
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let length = file.metadata()?.len();
    let mut last = [0];
    // No trailing newline: a torn write, and a line appended to it could not be read.
    if length == 0 || length > SIZE_LIMIT || file.read_at(&mut last, length - 1)? != 1 || last != *b"\n" {
        return Ok(false);
    }
    let written = file.write_all(line).and_then(|()| if flush { file.sync_data() } else { Ok(()) });
    if let Err(error) = written {
        // Best effort: if it fails, the next change finds the torn line and replaces the file.
        let _ = file.set_len(length);
        return Err(error);
    }
    Ok(true)
}

/// Writes a temporary file beside `path`, flushes it, renames it over `path` and flushes the directory.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    if let Err(source) = write().and_then(|()| fs::rename(&temporary, path)) {
        let _ = fs::remove_file(&temporary);
        return Err(failed("write the record")(source));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("flush the directory of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Record {
        version: u32,
        value: i32,
    }

    fn record(value: i32) -> Record {
        Record { version: VERSION, value }
    }

    #[tokio::test]
    async fn written_records_are_read_back_and_removed_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let records = Directory::open(dir.path().join("x")).unwrap();
        records.write("a", &record(1)).await.unwrap();
        records.write("a", &record(2)).await.unwrap();
        assert_eq!(records.read_all::<Record>().unwrap().0, [record(2)]);
        records.remove("a").await.unwrap();
        records.remove("a").await.unwrap();
        assert!(records.read_all::<Record>().unwrap().0.is_empty());
    }

    #[tokio::test]
    async fn a_damaged_record_costs_only_itself_and_a_temporary_file_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let records = Directory::open(dir.path().to_owned()).unwrap();
        records.write("good", &record(1)).await.unwrap();
        fs::write(dir.path().join("bad.json"), "{\"half\": ").unwrap();
        fs::write(dir.path().join("good.tmp"), "[7").unwrap();
        let again = Directory::open(dir.path().to_owned()).unwrap();
        assert_eq!(again.read_all::<Record>().unwrap(), (vec![record(1)], vec!["bad".to_owned()]));
        assert!(dir.path().join("bad.damaged").exists());
        assert!(!dir.path().join("good.tmp").exists());
    }

    #[tokio::test]
    async fn a_torn_change_leaves_the_record_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let records = Directory::open(dir.path().to_owned()).unwrap();
        let path = dir.path().join("a.json");
        for value in [1, 2] {
            records.write("a", &record(value)).await.unwrap();
        }
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(whole.lines().count(), 2);
        for torn in ["{", "{\"version\":1,\"va", "{\"version\":1,\"value\":3", "\0\0\0,\"value\":3}\n"] {
            fs::write(&path, format!("{whole}{torn}")).unwrap();
            assert_eq!(records.read_all::<Record>().unwrap(), (vec![record(2)], Vec::new()), "{torn}");
            records.write("a", &record(4)).await.unwrap();
            assert_eq!(records.read_all::<Record>().unwrap().0, [record(4)], "{torn}");
            records.write_unflushed("a", &record(5)).await.unwrap();
            assert_eq!(records.read::<Record>("a"), Some(record(5)), "{torn}");
        }
    }

    #[tokio::test]
    async fn a_file_does_not_grow_without_bound_and_one_of_an_earlier_dockside_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let records = Directory::open(dir.path().to_owned()).unwrap();
        let path = dir.path().join("a.json");
        for ending in ["", "\n"] {
            fs::write(&path, serde_json::to_string_pretty(&record(1)).unwrap() + ending).unwrap();
            assert_eq!(records.read_all::<Record>().unwrap().0, [record(1)]);
            records.write("a", &record(2)).await.unwrap();
            assert_eq!(records.read_all::<Record>().unwrap().0, [record(2)]);
        }
        let one = fs::read(&path).unwrap().len() as u64;
        let line = [b"1".repeat(4095), b"\n".to_vec()].concat();
        for _ in 0..100 {
            write(&path, &line, true).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= SIZE_LIMIT + one + line.len() as u64);
        }
    }

    #[tokio::test]
    async fn a_record_of_a_newer_dockside_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let records = Directory::open(dir.path().to_owned()).unwrap();
        records.write("new", &Record { version: VERSION + 1, value: 1 }).await.unwrap();
        let path = dir.path().join("new.json");
        let text = fs::read_to_string(&path).unwrap() + "in a way of its own";
        fs::write(&path, &text).unwrap();
        assert_eq!(records.read_all::<Record>().unwrap(), (Vec::new(), Vec::new()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
