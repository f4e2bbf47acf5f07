//! Docker's json-file and the older files it was rotated to.
//!
//! `<id>-json.log` is the one Docker writes; `.1` is the one before, `.2` the one before that. Docker renames, so a
//! file is known by its inode, and one that is held open can be read to its end whatever its name has become.

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

/// Rotated files that are looked for; Docker keeps as many as `max-file` says.
const ROTATED_MAX: usize = 1000;
/// How often a look that a rotation has come into is repeated.
const LOOKS: usize = 10;

/// What a file is, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// One file that Docker wrote or writes.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    pub(super) id: FileId,
}

impl Source {
    fn open(path: &Path) -> io::Result<Source> {
        let file = File::open(path)?;
        let id = FileId::of(&file.metadata()?);
        Ok(Source { file, id })
    }

    /// Fills `buffer` from `offset` on; fewer bytes only at the end of the file.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// What came after a file.
#[derive(Debug)]
pub(super) enum After {
    /// These, the oldest first; none while Docker still writes the file itself.
    These(Vec<Source>),
    /// The file is gone, and so may be some that came after it; these are there, the oldest first.
    Broken(Vec<Source>),
}

/// The files of one container.
#[derive(Debug)]
pub(super) struct Chain {
    newest: PathBuf,
}

impl Chain {
    pub(super) fn new(docker_file: &Path) -> Chain {
        Chain { newest: docker_file.to_owned() }
    }

    /// The file that Docker writes now; `None` before the first start, and for a moment in each rotation.
    pub(super) fn newest(&self) -> io::Result<Option<FileId>> {
        id_at(&self.newest)
    }

    /// All files, the oldest first.
    pub(super) fn all(&self) -> io::Result<Vec<Source>> {
        self.steady(|ids| ids.len())
    }

    /// The files that came after this one.
    pub(super) fn after(&self, id: FileId) -> io::Result<After> {
        let mut broken = false;
        let files = self.steady(|ids| {
            let own = ids.iter().position(|(_, known)| *known == id);
            broken = own.is_none();
            own.unwrap_or(ids.len())
        })?;
        Ok(if broken { After::Broken(files) } else { After::These(files) })
    }

    /// Opens the first so many files of a list that begins with the newest, and returns them the oldest first. A
    /// rotation meanwhile would show a file twice or not at all, so the list must be the same before and after.
    fn steady(&self, mut how_many: impl FnMut(&[(usize, FileId)]) -> usize) -> io::Result<Vec<Source>> {
        for _ in 0..LOOKS {
            let ids = self.list()?;
            let count = how_many(&ids);
            let opened: io::Result<Vec<Source>> =
                ids[..count].iter().rev().map(|(index, _)| Source::open(&self.path(*index))).collect();
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
        Err(io::Error::new(io::ErrorKind::Interrupted, "Docker rotates it faster than it can be looked at"))
    }

    /// Index and identity of what is there, the newest first. Docker renames the oldest file first, so in the middle of a
    /// rotation one number is free, be it 0; where it was killed then, that stays so.
    fn list(&self) -> io::Result<Vec<(usize, FileId)>> {
        let mut found = Vec::new();
        let mut free = 0;
        for index in 0..=ROTATED_MAX {
            match id_at(&self.path(index))? {
                Some(id) => {
                    free = 0;
                    found.push((index, id));
                }
                None if free > 0 => break,
                None => free += 1,
            }
        }
        Ok(found)
    }

    fn path(&self, index: usize) -> PathBuf {
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

    /// As Docker rotates with `max-file` 3.
    fn rotate(path: &Path) {
        let at = |index| Chain::new(path).path(index);
        let _ = fs::remove_file(at(2));
        let _ = fs::rename(at(1), at(2));
        fs::rename(at(0), at(1)).unwrap();
    }

    #[test]
    fn a_rotation_that_is_half_done_hides_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-json.log");
        let chain = Chain::new(&path);
        for (text, index) in [("first", 3), ("second", 2), ("third", 1), ("fourth", 0)] {
            fs::write(chain.path(index), text).unwrap();
        }
        fs::rename(chain.path(3), chain.path(4)).unwrap();
        for moving in (0..3).rev() {
            let files = chain.all().unwrap();
            let mut buffer = [0; 8];
            let lengths: Vec<usize> = files.iter().map(|file| file.read_at(&mut buffer, 0).unwrap()).collect();
            assert_eq!(lengths, ["first", "second", "third", "fourth"].map(str::len), "while {moving} is moved");
            fs::rename(chain.path(moving), chain.path(moving + 1)).unwrap();
        }
        assert_eq!(chain.all().unwrap().len(), 4);
    }

    #[test]
    fn the_files_after_one_are_found_by_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-json.log");
        fs::write(&path, "first").unwrap();
        let chain = Chain::new(&path);
        let first = chain.all().unwrap().remove(0);
        assert!(matches!(chain.after(first.id).unwrap(), After::These(files) if files.is_empty()));
        rotate(&path);
        // Docker has renamed and not made the next one yet.
        assert_eq!(chain.newest().unwrap(), None);
        assert!(matches!(chain.after(first.id).unwrap(), After::These(files) if files.is_empty()));
        for text in ["second", "third"] {
            fs::write(&path, text).unwrap();
            if text == "second" {
                rotate(&path);
            }
        }
        let After::These(files) = chain.after(first.id).unwrap() else { panic!("the first file is there as .2") };
        let mut buffer = [0; 8];
        let texts: Vec<usize> = files.iter().map(|file| file.read_at(&mut buffer, 0).unwrap()).collect();
        assert_eq!(texts, ["second".len(), "third".len()]);
        rotate(&path);
        fs::write(&path, "fourth").unwrap();
        assert!(matches!(chain.after(first.id).unwrap(), After::Broken(files) if files.len() == 3));
    }
}
