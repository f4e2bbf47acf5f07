//! Finds where to continue a log that an earlier process followed.
//!
//! Each entry of the Docker log makes exactly one line. So the number of lines in the CRI log beyond its checkpoint is
//! the number of entries beyond the checkpoint that were converted, whenever Dockside was killed. Without a usable
//! checkpoint, the last line is searched for in the Docker log. Only when its entry is gone too, lines may be lost.

use std::collections::VecDeque;
use std::io;

use memchr::memchr_iter;
use memchr::memmem;

use super::buffers::Buffers;
use super::checkpoint::Checkpoint;
use super::convert::convert_chunk;
use super::cri_log::CriLog;
use super::docker_log::DockerFile;
use super::docker_log::DockerLog;
use super::error::Error;
use super::paths::LogPaths;

/// How much of the end of a CRI log is searched for a torn line when its checkpoint is unusable.
const TAIL: u64 = 1 << 20;

/// Where to continue.
#[derive(Debug)]
pub(super) struct Resumed {
    /// The file to write to.
    pub(super) cri_log: CriLog,
    pub(super) position: Position,
    /// The time of the last line, if entries between it and the position may be missing.
    pub(super) gap_since: Option<String>,
}

/// The first entry that has no line yet.
#[derive(Debug)]
pub(super) struct Position {
    /// The file that has the entry, and those that were written after it.
    pub(super) files: VecDeque<DockerFile>,
    pub(super) offset: u64,
    /// Whether entries before it may be missing.
    gap: bool,
}

impl Position {
    fn new(mut files: VecDeque<DockerFile>, index: usize, offset: u64) -> Position {
        files.drain(..index);
        Position { files, offset, gap: false }
    }
}

/// Opens the CRI log and finds the position that belongs to its end.
pub(super) fn resume(
    paths: &LogPaths,
    checkpoint: Option<&Checkpoint>,
    buffers: &mut Buffers,
) -> Result<Resumed, Error> {
    let mut cri_log = CriLog::open(paths)?;
    let docker_log = DockerLog::new(&paths.docker_file);
    let other = checkpoint.map(|checkpoint| checkpoint.written.file).filter(|file| *file != cri_log.id);
    let mut renamed = other.and_then(|file| CriLog::find_renamed(paths, file));
    // If the file written last is gone, one with contents at its path may be a copy of it.
    let has_lines = cri_log.len()? > 0;
    let last = match &mut renamed {
        None if other.is_none() || has_lines => Some(&mut cri_log),
        renamed => renamed.as_mut(),
    };
    let position = locate(&docker_log, checkpoint, last, buffers)?;
    let gap_since = position.gap.then(|| {
        let last_line = renamed.as_ref().unwrap_or(&cri_log).last_line().ok().flatten();
        let time = last_line.and_then(|line| time_of_line(&line));
        time.or_else(|| checkpoint.map(|checkpoint| checkpoint.last_time.clone())).unwrap_or_default()
    });
    Ok(Resumed { cri_log, position, gap_since })
}

/// Finds the first entry that has no line yet. `last` is the CRI log that was written last, or the one at its path,
/// which may be a copy; a torn line at its end, which a kill leaves, is cut off.
fn locate(
    docker_log: &DockerLog,
    checkpoint: Option<&Checkpoint>,
    last: Option<&mut CriLog>,
    buffers: &mut Buffers,
) -> Result<Position, Error> {
    let failed = |error| Error::io("read", docker_log.path())(error);
    let files = VecDeque::from(docker_log.open_all().map_err(failed)?);
    // The lines written since the checkpoint, if it is usable, and the last line, if the file is ours.
    let (lines_since, last_line) = match (last, checkpoint.map(|checkpoint| &checkpoint.written)) {
        // The file was removed, with whatever lines it had.
        (None, written) => (written.map(|_| 0), None),
        (Some(cri_log), Some(written)) if written.file.inode != cri_log.id.inode => {
            cri_log.count_lines(cri_log.len()?.saturating_sub(TAIL), &mut buffers.chunk)?;
            if let Some(line) = cri_log.last_line()?
                && let Some((index, offset)) = after_line(&files, &line, buffers).map_err(failed)?
            {
                return Ok(Position::new(files, index, offset));
            }
            // Not a copy but a file of other contents.
            (Some(0), None)
        }
        (Some(cri_log), written) => {
            let length = cri_log.len()?;
            let usable = written.map(|written| written.size).filter(|size| *size <= length);
            let lines =
                cri_log.count_lines(usable.unwrap_or_else(|| length.saturating_sub(TAIL)), &mut buffers.chunk)?;
            (usable.map(|_| lines), cri_log.last_line()?)
        }
    };
    let read = checkpoint.and_then(|checkpoint| checkpoint.read.as_ref());
    if let (Some(read), Some(lines)) = (read, lines_since) {
        for index in 0..files.len() {
            if read.is_in(&files[index]).map_err(failed)? {
                return skip_entries(Position::new(files, index, read.offset), lines, buffers).map_err(failed);
            }
        }
    }
    if read.is_none() && lines_since == Some(0) {
        return Ok(Position::new(files, 0, 0));
    }
    let gap = match last_line {
        Some(line) => match after_line(&files, &line, buffers).map_err(failed)? {
            Some((index, offset)) => return Ok(Position::new(files, index, offset)),
            None => true,
        },
        None => read.is_some(),
    };
    Ok(Position { gap, ..Position::new(files, 0, 0) })
}

/// The position `count` entries further on, or the end of the log.
fn skip_entries(mut position: Position, mut count: u64, buffers: &mut Buffers) -> io::Result<Position> {
    while count > 0 {
        let Some(file) = position.files.front() else { break };
        let chunk = file.read_at(&mut buffers.chunk, position.offset)?;
        let converted = convert_chunk(chunk, &mut buffers.lines, count);
        if converted.consumed > 0 {
            position.offset += converted.consumed as u64;
            count -= converted.lines;
        } else if position.files.len() > 1 {
            position.files.pop_front();
            position.offset = 0;
        } else {
            break;
        }
    }
    Ok(position)
}

/// The index of the file and the offset after the entry that made this line; `None` when there is no such entry.
fn after_line(files: &VecDeque<DockerFile>, line: &[u8], buffers: &mut Buffers) -> io::Result<Option<(usize, u64)>> {
    let finder = memmem::Finder::new(line);
    for (index, file) in files.iter().enumerate() {
        let mut offset = 0;
        loop {
            let chunk = file.read_at(&mut buffers.chunk, offset)?;
            let converted = convert_chunk(chunk, &mut buffers.lines, u64::MAX);
            if converted.consumed == 0 {
                break;
            }
            let lines = &buffers.lines;
            let begins_line = |at: &usize| *at == 0 || lines[*at - 1] == b'\n';
            if let Some(at) = finder.find_iter(lines).filter(begins_line).last() {
                let through = memchr_iter(b'\n', &lines[..at]).count() as u64 + 1;
                let through = convert_chunk(chunk, &mut buffers.lines, through);
                return Ok(Some((index, offset + through.consumed as u64)));
            }
            offset += converted.consumed as u64;
        }
    }
    Ok(None)
}

fn time_of_line(line: &[u8]) -> Option<String> {
    let end = memchr::memchr(b' ', line)?;
    Some(String::from_utf8_lossy(&line[..end]).into_owned())
}
