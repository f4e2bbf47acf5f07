//! Where to go on after Dockside was away.
//!
//! One record makes exactly one line. So the lines in the CRI file beyond its checkpoint say how many records beyond
//! the checkpoint are done with, whenever Dockside was killed. Where the checkpoint does not help, the last line
//! does: its record is looked for in what Docker has. Only when that is gone too, something may be lost.

use std::collections::VecDeque;
use std::io;

use memchr::memchr_iter;
use memchr::memmem;

use super::batch::Scratch;
use super::checkpoint::Checkpoint;
use super::sink::Sink;
use super::source::Chain;
use super::source::Source;

/// A position in Docker's files.
#[derive(Debug)]
pub(super) struct Located {
    /// The file to go on in, and those after it.
    pub(super) files: VecDeque<Source>,
    pub(super) offset: u64,
    /// Whether records may be missing before the position.
    pub(super) gap: bool,
}

/// Finds the first record that has no line yet. `sink` is the file that was written last, if it still exists, or one that
/// is in its place and may be a copy; what a kill left of a line at its end is cut off.
pub(super) fn locate(
    chain: &Chain,
    checkpoint: Option<&Checkpoint>,
    sink: Option<&mut Sink>,
    scratch: &mut Scratch,
) -> io::Result<Located> {
    let mut files = VecDeque::from(chain.all()?);
    let (beyond, last_line) = match sink {
        Some(sink) => {
            let length = sink.len()?;
            let written = checkpoint.map(|checkpoint| &checkpoint.written);
            let other = written.is_some_and(|written| written.file.inode != sink.id.inode);
            let known = written.map(|written| written.size).filter(|size| !other && *size <= length);
            let from = known.unwrap_or(length.saturating_sub(1 << 20));
            let lines = sink.count_lines(from, &mut scratch.input)?;
            let last_line = sink.last_line()?;
            if other && let Some(line) = &last_line {
                let located = after_line(files, line, scratch)?;
                if !located.gap {
                    return Ok(located);
                }
                files = located.files;
            }
            // A file of another's is as good as none.
            if other { (Some(0), None) } else { (known.map(|_| lines), last_line) }
        }
        // Somebody removed the file with whatever lines it had.
        None => (checkpoint.map(|_| 0), None),
    };
    let read = checkpoint.and_then(|checkpoint| checkpoint.read.as_ref());
    if let (Some(read), Some(beyond)) = (read, beyond) {
        for index in 0..files.len() {
            if read.is_in(&files[index])? {
                files.drain(..index);
                return skip(files, read.offset, beyond, scratch);
            }
        }
    }
    if read.is_none() && beyond == Some(0) {
        return Ok(Located { files, offset: 0, gap: false });
    }
    match last_line {
        Some(line) => after_line(files, &line, scratch),
        None => Ok(Located { files, offset: 0, gap: read.is_some() }),
    }
}

/// The position after so many records.
fn skip(mut files: VecDeque<Source>, mut offset: u64, mut lines: u64, scratch: &mut Scratch) -> io::Result<Located> {
    while lines > 0 {
        let Some(source) = files.front() else { break };
        let done = scratch.fill(source, offset, lines)?;
        if done.consumed > 0 {
            offset += done.consumed as u64;
            lines -= done.lines;
        } else if files.len() > 1 {
            files.pop_front();
            offset = 0;
        } else {
            break;
        }
    }
    Ok(Located { files, offset, gap: false })
}

/// The position after the record of this line, or the oldest record there is.
fn after_line(mut files: VecDeque<Source>, line: &[u8], scratch: &mut Scratch) -> io::Result<Located> {
    let finder = memmem::Finder::new(line);
    for index in 0..files.len() {
        let mut offset = 0;
        loop {
            let done = scratch.fill(&files[index], offset, u64::MAX)?;
            if done.consumed == 0 {
                break;
            }
            let lines = &scratch.output;
            let begins_line = |at: &usize| *at == 0 || lines[*at - 1] == b'\n';
            if let Some(at) = finder.find_iter(lines).filter(begins_line).last() {
                let through = memchr_iter(b'\n', &lines[..at]).count() as u64 + 1;
                let done = scratch.fill(&files[index], offset, through)?;
                files.drain(..index);
                return Ok(Located { files, offset: offset + done.consumed as u64, gap: false });
            }
            offset += done.consumed as u64;
        }
    }
    Ok(Located { files, offset: 0, gap: true })
}

/// The time of the first record from a position on; `None` when there is no record yet.
pub(super) fn first_time(source: Option<&Source>, offset: u64, scratch: &mut Scratch) -> Option<String> {
    scratch.fill(source?, offset, 1).ok()?.last_time
}
