//! The CRI log: opened without leaving the sandbox's log directory, and appended to in whole lines. Nothing is
//! buffered, so there is nothing to flush.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::PathBuf;

use memchr::memchr_iter;
use memchr::memrchr;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use nix::sys::stat::mkdirat;
use nix::unistd::UnlinkatFlags;
use nix::unistd::unlinkat;

use super::checkpoint::WritePosition;
use super::docker_log::FileId;
use super::error::Error;
use super::paths::LogPaths;

/// More than any line has: Docker splits at 16 KiB, and a byte of invalid UTF-8 becomes three.
const LINE_MAX: u64 = 256 << 10;

/// An open CRI log.
#[derive(Debug)]
pub(super) struct CriLog {
    file: File,
    /// The path it was opened at.
    path: PathBuf,
    pub(super) id: FileId,
    /// Bytes of an unfinished line at the end of the file, left by a failed write.
    torn: u64,
}

/// Why a write stopped.
#[derive(Debug)]
pub(super) struct WriteError {
    /// Lines that were written before it stopped.
    pub(super) whole_lines: u64,
    pub(super) error: Error,
}

/// A file that was opened by its path.
struct Opened {
    log: CriLog,
    /// The directory and the file's name in it, if it was created by this open.
    created: Option<(OwnedFd, String)>,
}

impl CriLog {
    /// Opens the CRI log of a container. Creates it, and the directories above it, if they are missing.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] names the field when the path leads to anything but a regular file. Symbolic links are
    /// not followed: a process that can write to a pod's log directory must not choose the file that is appended to.
    pub(super) fn open(paths: &LogPaths) -> Result<CriLog, Error> {
        Ok(Opened::open(paths)?.log)
    }

    /// The file with this inode, if it is still in the directory of the CRI log, where a kubelet renames it. The device
    /// is not compared: its number may change when the machine restarts.
    pub(super) fn find_renamed(paths: &LogPaths, id: FileId) -> Option<CriLog> {
        let path = paths.cri_file();
        let entries = fs::read_dir(path.parent()?).ok()?.filter_map(Result::ok);
        let candidates = std::iter::once(path.clone()).chain(entries.map(|entry| entry.path()));
        candidates.into_iter().find_map(|path| {
            let found = fs::symlink_metadata(&path).ok()?;
            if !found.is_file() || found.ino() != id.inode {
                return None;
            }
            let file = File::options().read(true).append(true).open(&path).ok()?;
            let opened = FileId::of(&file.metadata().ok()?);
            (opened == FileId::of(&found)).then_some(CriLog { file, path, id: opened, torn: 0 })
        })
    }

    /// Appends lines, unbuffered. A line of which only a part could be written is removed, at the latest before the
    /// next write.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        self.remove_torn_line().map_err(|error| WriteError { whole_lines: 0, error: self.error("write")(error) })?;
        let mut written = 0;
        while written < lines.len() {
            let failure = match self.file.write(&lines[written..]) {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let whole = memrchr(b'\n', &lines[..written]).map_or(0, |at| at + 1);
            self.torn = (written - whole) as u64;
            let _ = self.remove_torn_line();
            let whole_lines = memchr_iter(b'\n', &lines[..whole]).count() as u64;
            return Err(WriteError { whole_lines, error: self.error("write")(failure) });
        }
        Ok(())
    }

    /// Continues in a new file at the same path, if the old one was renamed. `commit` makes the new file's position
    /// permanent; if it fails, the new file is removed and the old one continues.
    pub(super) fn reopen(
        &mut self,
        paths: &LogPaths,
        commit: impl FnOnce(WritePosition) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Opened { log, created } = Opened::open(paths)?;
        if log.id == self.id {
            return Ok(());
        }
        if let Err(error) = log.position().and_then(commit) {
            if let Some((directory, name)) = created {
                let _ = unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir);
            }
            return Err(error);
        }
        *self = log;
        Ok(())
    }

    /// The end of the last whole line.
    pub(super) fn position(&self) -> Result<WritePosition, Error> {
        Ok(WritePosition { file: self.id, size: self.len()?.saturating_sub(self.torn) })
    }

    /// The size of the file in bytes.
    pub(super) fn len(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(self.error("stat"))?.len())
    }

    /// Counts the lines from offset `from` on, and removes an unfinished last line, which a kill leaves.
    pub(super) fn count_lines(&mut self, from: u64, buffer: &mut [u8]) -> Result<u64, Error> {
        let (mut lines, mut at, mut end) = (0, from, from);
        loop {
            let read = self.file.read_at(buffer, at).map_err(self.error("read"))?;
            if read == 0 {
                break;
            }
            lines += memchr_iter(b'\n', &buffer[..read]).count() as u64;
            if let Some(last) = memrchr(b'\n', &buffer[..read]) {
                end = at + last as u64 + 1;
            }
            at += read as u64;
        }
        if at > end {
            self.file.set_len(end).map_err(self.error("truncate"))?;
        }
        Ok(lines)
    }

    /// The last whole line, with its newline; `None` when there is none.
    pub(super) fn last_line(&self) -> Result<Option<Vec<u8>>, Error> {
        let length = self.len()?;
        let from = length.saturating_sub(LINE_MAX);
        let mut tail = vec![0; usize::try_from(length - from).unwrap_or(0)];
        self.file.read_exact_at(&mut tail, from).map_err(self.error("read"))?;
        let Some(end) = memrchr(b'\n', &tail) else { return Ok(None) };
        let begin = memrchr(b'\n', &tail[..end]).map_or(0, |at| at + 1);
        Ok(Some(tail[begin..=end].to_vec()))
    }

    fn remove_torn_line(&mut self) -> io::Result<()> {
        if self.torn > 0 {
            self.file.set_len(self.file.metadata()?.len().saturating_sub(self.torn))?;
            self.torn = 0;
        }
        Ok(())
    }

    fn error(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::io(doing, &self.path)
    }
}

impl Opened {
    fn open(paths: &LogPaths) -> Result<Opened, Error> {
        let path = paths.cri_file();
        let (directory, name) = open_directory(paths)?;
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mode = Mode::from_bits_truncate(0o640);
        let created = openat(&directory, name.as_str(), flags | OFlag::O_CREAT | OFlag::O_EXCL, mode);
        let (opened, created) = match created {
            Err(Errno::EEXIST) => (openat(&directory, name.as_str(), flags, mode), None),
            created => (created, Some((directory, name))),
        };
        let file = File::from(opened.map_err(|errno| open_error(paths, errno))?);
        let metadata = file.metadata().map_err(Error::io("stat", &path))?;
        if !metadata.is_file() {
            return Err(Error::invalid_path("log_path", &path, "is not a regular file"));
        }
        Ok(Opened { log: CriLog { file, path, id: FileId::of(&metadata), torn: 0 }, created })
    }
}

/// Opens the directory of the log file without following a symbolic link below `log_directory`, and returns it with the
/// file's name. Creates what is missing.
fn open_directory(paths: &LogPaths) -> Result<(OwnedFd, String), Error> {
    let directory_failed = |reason: io::Error| Error::invalid_path("log_directory", &paths.log_directory, reason);
    DirBuilder::new().recursive(true).mode(0o755).create(&paths.log_directory).map_err(|source| {
        match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => directory_failed(source),
            _ => Error::io("create the directory", &paths.log_directory)(source),
        }
    })?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut directory = nix::fcntl::open(&paths.log_directory, flags, Mode::empty())
        .map_err(|errno| directory_failed(io::Error::from(errno)))?;
    let mut names = path_names(paths)?;
    let Some(name) = names.pop() else {
        return Err(Error::invalid_path("log_path", &paths.log_path, "is empty"));
    };
    for step in names {
        let failed = |errno| open_error(paths, errno);
        match mkdirat(&directory, step.as_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        directory = openat(&directory, step.as_str(), flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(failed)?;
    }
    Ok((directory, name))
}

/// The names that make up `log_path`.
fn path_names(paths: &LogPaths) -> Result<Vec<String>, Error> {
    let plain = |component: Component<'_>| match component {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    let steps = paths.log_path.components().filter(|component| *component != Component::CurDir);
    steps.map(plain).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::invalid_path("log_path", &paths.log_path, "must be a path inside the pod's log_directory")
    })
}

/// The error for an errno on the way to the log file.
fn open_error(paths: &LogPaths, errno: Errno) -> Error {
    let path = paths.cri_file();
    match errno {
        Errno::ELOOP => Error::invalid_path("log_path", &path, "is a symbolic link, or leads through one"),
        Errno::EISDIR => Error::invalid_path("log_path", &path, "is a directory"),
        // With O_DIRECTORY and O_NOFOLLOW, a symbolic link is not a directory.
        Errno::ENOTDIR => Error::invalid_path("log_path", &path, "leads through a file or a symbolic link"),
        Errno::ENXIO => Error::invalid_path("log_path", &path, "is not a regular file"),
        Errno::ENAMETOOLONG => Error::invalid_path("log_path", &path, "is too long"),
        other => Error::io("open the log file", &path)(io::Error::from(other)),
    }
}
