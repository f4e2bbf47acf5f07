//! Reads the Docker log of one container across its rotations.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::buffers::Buffers;
use super::checkpoint::ReadPosition;
use super::convert::convert_chunk;
use super::docker_log::DockerFile;
use super::docker_log::DockerLog;
use super::docker_log::Successors;
use super::error::Error;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Reader {
    log: DockerLog,
    /// The file being read, and those that were written after it.
    open: VecDeque<OpenFile>,
    /// In the file being read.
    offset: u64,
    /// The last position that is not at the beginning of a file.
    position: Option<ReadPosition>,
}

#[derive(Debug)]
struct OpenFile {
    file: DockerFile,
    /// Whether Docker may have removed files between the previous one and this one.
    gap: bool,
}

impl Reader {
    /// Reads from the first entry on.
    pub(super) fn new(docker_file: &Path) -> Reader {
        Reader { log: DockerLog::new(docker_file), open: VecDeque::new(), offset: 0, position: None }
    }

    /// Reads from `offset` in the first of these files; `position` is that of the last checkpoint.
    pub(super) fn seek(&mut self, files: VecDeque<DockerFile>, offset: u64, position: Option<ReadPosition>) {
        self.open = files.into_iter().map(|file| OpenFile { file, gap: false }).collect();
        self.offset = offset;
        self.position = position;
    }

    pub(super) fn close(&mut self) {
        self.open.clear();
    }

    /// The offset of the next entry in the file being read, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next entry begins, for the checkpoint. At the beginning of a file it is the end of the previous one: a
    /// position without bytes before it does not identify its file.
    pub(super) fn position(&mut self) -> Result<Option<ReadPosition>, Error> {
        if let Some(file) = self.file()
            && self.offset > 0
        {
            self.position = Some(ReadPosition::new(file, self.offset).map_err(|error| self.error(error))?);
        }
        Ok(self.position.clone())
    }

    /// Reads the next chunk, which begins where a line begins. It is empty at the end of the file.
    pub(super) fn read<'b>(&self, chunk: &'b mut [u8]) -> Result<&'b [u8], Error> {
        match self.file() {
            Some(file) => file.read_at(chunk, self.offset).map_err(|error| self.error(error)),
            None => Ok(&[]),
        }
    }

    /// Goes past whole lines of the last chunk.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.offset += bytes as u64;
    }

    /// Opens the files that Docker has begun since the newest open one, as long as no more than `limit` are open.
    pub(super) fn open_new_files(&mut self, limit: usize) -> Result<(), Error> {
        let opened = self.find_new_files(limit).map_err(|error| self.error(error))?;
        let room = limit.saturating_sub(self.open.len());
        for (index, file) in opened.files.into_iter().take(room).enumerate() {
            self.open.push_back(OpenFile { file, gap: opened.gap && index == 0 });
        }
        Ok(())
    }

    fn find_new_files(&self, limit: usize) -> io::Result<Successors> {
        let none = Successors { files: Vec::new(), gap: false };
        let Some(newest) = self.log.newest()? else { return Ok(none) };
        match self.open.back() {
            Some(last) if last.file.id == newest || self.open.len() >= limit => Ok(none),
            Some(last) => self.log.open_after(last.file.id),
            None => Ok(Successors { files: self.log.open_all()?, gap: false }),
        }
    }

    /// Whether a file follows the one being read, so that Docker writes no more to this one.
    pub(super) fn has_next_file(&self) -> bool {
        self.open.len() > 1
    }

    /// Closes the file being read and begins the next one. Returns whether Docker may have removed files in between.
    pub(super) fn next_file(&mut self) -> bool {
        self.open.pop_front();
        self.offset = 0;
        self.open.front().is_some_and(|next| next.gap)
    }

    /// Begins the file again if it has become shorter than the offset. Returns whether it has.
    pub(super) fn rewind_if_truncated(&mut self) -> Result<bool, Error> {
        let Some(file) = self.file() else { return Ok(false) };
        let truncated = file.len().map_err(|error| self.error(error))? < self.offset;
        if truncated {
            self.offset = 0;
        }
        Ok(truncated)
    }

    /// The bytes after the offset in the file being read.
    pub(super) fn unread_bytes(&self) -> u64 {
        let length = self.file().and_then(|file| file.len().ok()).unwrap_or(0);
        length.saturating_sub(self.offset)
    }

    /// The time of the next entry; `None` when there is none yet.
    pub(super) fn next_time(&self, buffers: &mut Buffers) -> Option<String> {
        let chunk = self.read(&mut buffers.chunk).ok()?;
        convert_chunk(chunk, &mut buffers.lines, 1).last_time
    }

    fn file(&self) -> Option<&DockerFile> {
        self.open.front().map(|open| &open.file)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::io("read", self.log.path())(source)
    }
}
