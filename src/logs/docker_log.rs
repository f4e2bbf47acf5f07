//! The files of Docker's `json-file` driver: `<id>-json.log`, which Docker writes, and the older ones it rotated.
//!
//! `.1` is the file before the one being written, `.2` the one before that. Docker rotates by renaming, so a file is
//! identified by its inode, and one that is held open can be read to its end whatever its name has become.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// The most rotated files that are searched for; Docker keeps as many as `max-file` says.
const ROTATED_MAX: usize = 1000;
/// How often a listing is repeated that a rotation has changed meanwhile.
const LIST_ATTEMPTS: usize = 10;

/// Identifies a file independently of its name. Part of the checkpoint on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// One open file that Docker wrote or writes.
#[derive(Debug)]
pub(super) struct DockerFile {
    file: File,
    pub(super) id: FileId,
}

impl DockerFile {
    fn open(path: &Path) -> io::Result<DockerFile> {
        let file = File::open(path)?;
        let id = FileId::of(&file.metadata()?);
        Ok(DockerFile { file, id })
    }

    /// Reads from `offset` into `buffer`, and returns the bytes read: fewer than fit only at the end of the file.
    pub(super) fn read_at<'b>(&self, buffer: &'b mut [u8], offset: u64) -> io::Result<&'b [u8]> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&buffer[..filled])
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// The files that were written after a certain one.
#[derive(Debug)]
pub(super) struct Successors {
    /// The oldest first.
    pub(super) files: Vec<DockerFile>,
    /// Whether Docker has removed that certain file, and so perhaps some between it and these.
    pub(super) gap: bool,
}

/// The files of one container on disk.
#[derive(Debug)]
pub(super) struct DockerLog {
    newest: PathBuf,
}

impl DockerLog {
    pub(super) fn new(docker_file: &Path) -> DockerLog {
        DockerLog { newest: docker_file.to_owned() }
    }

    /// The path of the file that Docker writes.
    pub(super) fn path(&self) -> &Path {
        &self.newest
    }

    /// The file that Docker writes now; `None` before the first start, and for a moment in each rotation.
    pub(super) fn newest(&self) -> io::Result<Option<FileId>> {
        id_at(&self.newest)
    }

    /// Opens all files, the oldest first.
    pub(super) fn open_all(&self) -> io::Result<Vec<DockerFile>> {
        self.open_newest(|ids| ids.len())
    }

    /// Opens the files that were written after this one: none if it is the one Docker writes.
    pub(super) fn open_after(&self, id: FileId) -> io::Result<Successors> {
        let mut gap = false;
        let files = self.open_newest(|ids| {
            let own = ids.iter().position(|(_, other)| *other == id);
            gap = own.is_none();
            own.unwrap_or(ids.len())
        })?;
        Ok(Successors { files, gap })
    }

    /// Opens the newest files, and returns them the oldest first. `how_many` gets the listing, which begins with the
    /// newest. A rotation meanwhile would show a file twice or not at all, so the listing must be the same before and
    /// after.
    fn open_newest(&self, mut how_many: impl FnMut(&[(usize, FileId)]) -> usize) -> io::Result<Vec<DockerFile>> {
        for _ in 0..LIST_ATTEMPTS {
            let ids = self.list()?;
            let count = how_many(&ids);
            let opened: io::Result<Vec<DockerFile>> =
                ids[..count].iter().rev().map(|(index, _)| DockerFile::open(&self.path_of(*index))).collect();
            match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
                Ok(files) => {
                    let same = files.iter().rev().zip(&ids).all(|(file, (_, id))| file.id == *id);
                    if same && self.list()? == ids {
                        return Ok(files);
                    }
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "Docker rotates it faster than it can be listed"))
    }

    /// Index and identity of each file, the newest first. Docker renames the oldest file first, so during a rotation
    /// one index is unused, possibly 0; if Docker was killed in a rotation, it stays unused.
    fn list(&self) -> io::Result<Vec<(usize, FileId)>> {
        let mut found = Vec::new();
        let mut unused = 0;
        for index in 0..=ROTATED_MAX {
            match id_at(&self.path_of(index))? {
                Some(id) => {
                    unused = 0;
                    found.push((index, id));
                }
                None if unused > 0 => break,
                None => unused += 1,
            }
        }
        Ok(found)
    }

    fn path_of(&self, index: usize) -> PathBuf {
        if index == 0 {
            return self.newest.clone();
        }
        let mut name = OsString::from(&self.newest);
        name.push(format!(".{index}"));
        PathBuf::from(name)
    }
}

fn id_at(path: &Path) -> io::Result<Option<FileId>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(FileId::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rotates as Docker does with `max-file` 3.
    fn rotate(path: &Path) {
        let at = |index| DockerLog::new(path).path_of(index);
        let _ = fs::remove_file(at(2));
        let _ = fs::rename(at(1), at(2));
        fs::rename(at(0), at(1)).unwrap();
    }

    #[test]
    fn a_rotation_in_progress_hides_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-json.log");
        let log = DockerLog::new(&path);
        for (text, index) in [("first", 3), ("second", 2), ("third", 1), ("fourth", 0)] {
            fs::write(log.path_of(index), text).unwrap();
        }
        fs::rename(log.path_of(3), log.path_of(4)).unwrap();
        for moving in (0..3).rev() {
            let files = log.open_all().unwrap();
            let mut buffer = [0; 8];
            let lengths: Vec<usize> = files.iter().map(|file| file.read_at(&mut buffer, 0).unwrap().len()).collect();
            assert_eq!(lengths, ["first", "second", "third", "fourth"].map(str::len), "while {moving} is moved");
            fs::rename(log.path_of(moving), log.path_of(moving + 1)).unwrap();
        }
        assert_eq!(log.open_all().unwrap().len(), 4);
    }

    #[test]
    fn the_files_after_one_are_found_by_inode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-json.log");
        fs::write(&path, "first").unwrap();
        let log = DockerLog::new(&path);
        let first = log.open_all().unwrap().remove(0);
        let none = log.open_after(first.id).unwrap();
        assert!(!none.gap && none.files.is_empty());
        rotate(&path);
        // Docker has renamed the file and not created the next one yet.
        assert_eq!(log.newest().unwrap(), None);
        let none = log.open_after(first.id).unwrap();
        assert!(!none.gap && none.files.is_empty());
        for text in ["second", "third"] {
            fs::write(&path, text).unwrap();
            if text == "second" {
                rotate(&path);
            }
        }
        let Successors { files, gap } = log.open_after(first.id).unwrap();
        assert!(!gap, "the first file still exists, as .2");
        let mut buffer = [0; 8];
        let texts: Vec<usize> = files.iter().map(|file| file.read_at(&mut buffer, 0).unwrap().len()).collect();
        assert_eq!(texts, ["second".len(), "third".len()]);
        rotate(&path);
        fs::write(&path, "fourth").unwrap();
        let Successors { files, gap } = log.open_after(first.id).unwrap();
        assert!(gap && files.len() == 3);
    }
}
