//! The CRI log file: opened without leaving the pod's log directory, appended to in whole lines.

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
use std::path::Path;

use memchr::memchr_iter;
use memchr::memrchr;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use nix::sys::stat::mkdirat;
use nix::unistd::UnlinkatFlags;
use nix::unistd::unlinkat;

use super::Error;
use super::Place;
use super::checkpoint::WriteMark;
use super::source::FileId;

/// A line is never longer: Docker cuts at 16 KiB, and a byte it could not keep grows to three.
const LINE_MAX: u64 = 256 << 10;

/// An open CRI log file.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    pub(super) id: FileId,
    /// Bytes at the end of the file that are the beginning of a line, left by a write that failed.
    torn: u64,
}

/// A file that was opened by name.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sink: Sink,
    created: bool,
    parent: OwnedFd,
    name: String,
}

impl Opened {
    /// Takes the file back if it was made by this.
    pub(super) fn undo(self) {
        if self.created {
            let _ = unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Why an append stopped.
#[derive(Debug)]
pub(super) struct Short {
    /// Lines that were written whole before it did.
    pub(super) lines: u64,
    pub(super) source: io::Error,
}

impl Sink {
    /// Opens the log file of a container, making it and the directories above it where they are missing.
    ///
    /// # Errors
    /// [`Error::Place`] names the field when something else is there, and a symbolic link is something else: whoever
    /// can write into a pod's log directory must not choose what we append to.
    pub(super) fn open(place: &Place) -> Result<Opened, Error> {
        let (parent, name) = parent(place)?;
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mode = Mode::from_bits_truncate(0o640);
        let made = openat(&parent, name.as_str(), flags | OFlag::O_CREAT | OFlag::O_EXCL, mode);
        let (opened, created) = match made {
            Err(Errno::EEXIST) => (openat(&parent, name.as_str(), flags, mode), false),
            other => (other, true),
        };
        let file = File::from(opened.map_err(|errno| wrong_path(place, errno))?);
        let metadata = file.metadata().map_err(Error::io("look at", &place.cri_file()))?;
        if !metadata.is_file() {
            return Err(Error::place("log_path", &place.cri_file(), "is not a regular file"));
        }
        let sink = Sink { file, id: FileId::of(&metadata), torn: 0 };
        Ok(Opened { sink, created, parent, name })
    }

    /// The file that `id` stands for, if it is still in the directory of the log file: a kubelet renames it there. The
    /// device is not compared: it may have another number since the machine was started.
    pub(super) fn find(place: &Place, id: FileId) -> Option<Sink> {
        let path = place.cri_file();
        let candidates = fs::read_dir(path.parent()?).ok()?.filter_map(Result::ok);
        let names = std::iter::once(path.clone()).chain(candidates.map(|entry| entry.path()));
        names.into_iter().find_map(|candidate| {
            let known = fs::symlink_metadata(&candidate).ok()?;
            if !known.is_file() || known.ino() != id.inode {
                return None;
            }
            let file = File::options().read(true).append(true).open(&candidate).ok()?;
            let opened = FileId::of(&file.metadata().ok()?);
            (opened == FileId::of(&known)).then_some(Sink { file, id: opened, torn: 0 })
        })
    }

    /// Appends lines. On failure no part of a line is left, or it is taken back before the next append.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Short> {
        self.mend().map_err(|source| Short { lines: 0, source })?;
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
            let _ = self.mend();
            return Err(Short { lines: memchr_iter(b'\n', &lines[..whole]).count() as u64, source: failure });
        }
        Ok(())
    }

    /// Cuts off what a failed write left of a line.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn > 0 {
            self.file.set_len(self.file.metadata()?.len().saturating_sub(self.torn))?;
            self.torn = 0;
        }
        Ok(())
    }

    /// The end of what was written, in whole lines.
    pub(super) fn mark(&self) -> io::Result<WriteMark> {
        Ok(WriteMark { file: self.id, size: self.file.metadata()?.len().saturating_sub(self.torn) })
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Counts the lines from `from` on and cuts off a last one without its end, which a kill leaves.
    pub(super) fn count_lines(&mut self, from: u64, buffer: &mut [u8]) -> io::Result<u64> {
        let (mut lines, mut at, mut end) = (0, from, from);
        loop {
            let read = self.file.read_at(buffer, at)?;
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
            self.file.set_len(end)?;
        }
        Ok(lines)
    }

    /// The last whole line, with its newline; `None` when there is none.
    pub(super) fn last_line(&self) -> io::Result<Option<Vec<u8>>> {
        let length = self.len()?;
        let from = length.saturating_sub(LINE_MAX);
        let mut tail = vec![0; usize::try_from(length - from).unwrap_or(0)];
        self.file.read_exact_at(&mut tail, from)?;
        let Some(end) = memrchr(b'\n', &tail) else { return Ok(None) };
        let begin = memrchr(b'\n', &tail[..end]).map_or(0, |at| at + 1);
        Ok(Some(tail[begin..=end].to_vec()))
    }
}

/// The directory of the log file, reached without following a link, and the file's name in it.
fn parent(place: &Place) -> Result<(OwnedFd, String), Error> {
    let directory_failed = |reason: io::Error| Error::place("log_directory", &place.directory, reason);
    DirBuilder::new().recursive(true).mode(0o755).create(&place.directory).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => directory_failed(source),
        _ => Error::io("make the directory", &place.directory)(source),
    })?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut directory = nix::fcntl::open(&place.directory, flags, Mode::empty())
        .map_err(|errno| directory_failed(io::Error::from(errno)))?;
    let mut names = names(place)?;
    let Some(name) = names.pop() else {
        return Err(Error::place("log_path", &place.path, "is empty"));
    };
    for step in names {
        let failed = |errno| wrong_path(place, errno);
        match mkdirat(&directory, step.as_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        directory = openat(&directory, step.as_str(), flags | OFlag::O_NOFOLLOW, Mode::empty()).map_err(failed)?;
    }
    Ok((directory, name))
}

/// The names that make up `log_path`.
fn names(place: &Place) -> Result<Vec<String>, Error> {
    let plain = |component: Component<'_>| match component {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    let steps = Path::new(&place.path).components().filter(|component| *component != Component::CurDir);
    steps
        .map(plain)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::place("log_path", &place.path, "must be a path inside the pod's log_directory"))
}

/// What an errno on the way to the log file means.
fn wrong_path(place: &Place, errno: Errno) -> Error {
    let path = place.cri_file();
    match errno {
        Errno::ELOOP => Error::place("log_path", &path, "is a symbolic link, or leads through one"),
        Errno::EISDIR => Error::place("log_path", &path, "is a directory"),
        // With O_DIRECTORY and O_NOFOLLOW, a link is not a directory.
        Errno::ENOTDIR => Error::place("log_path", &path, "leads through a file or a symbolic link"),
        Errno::ENXIO => Error::place("log_path", &path, "is not a regular file"),
        Errno::ENAMETOOLONG => Error::place("log_path", &path, "is too long"),
        other => Error::io("open the log file", &path)(io::Error::from(other)),
    }
}
