//! The file that keeps a node's ids and contacts between two runs.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::{SNAPSHOT_BYTES_MAX, Snapshot, SnapshotError};

/// A path that is replaced as a whole: after a crash it holds the old content or the new.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// Why a state file could not be read or written.
#[derive(Debug)]
pub enum StateError {
    /// What the system says.
    Io(PathBuf, io::Error),
    /// The content is no snapshot.
    Content(PathBuf, SnapshotError),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            StateError::Content(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StateError {}

impl StateFile {
    /// A state file at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> StateFile {
        StateFile { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the snapshot; `None` if there is no file.
    pub fn load(&self) -> Result<Option<Snapshot>, StateError> {
        let io = |error| StateError::Io(self.path.clone(), error);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = Vec::new();
        file.take(SNAPSHOT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        let content = |error| StateError::Content(self.path.clone(), error);
        Snapshot::decode(&bytes).map(Some).map_err(content)
    }

    /// Reads the snapshot like [`StateFile::load`]. A file that is no snapshot is set aside, with the
    /// extension `damaged` and a warning: it costs only the warm start.
    pub fn load_or_set_aside(&self) -> Result<Option<Snapshot>, StateError> {
        match self.load() {
            Err(error @ StateError::Content(..)) => {
                tracing::warn!(%error, "starting cold");
                let _ = fs::rename(&self.path, self.path.with_extension("damaged"));
                Ok(None)
            }
            other => other,
        }
    }

    /// Replaces the file and waits until it is on stable storage. Blocks.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), StateError> {
        self.replace(&snapshot.encode()).map_err(|error| StateError::Io(self.path.clone(), error))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut temp = self.path.clone().into_os_string();
        temp.push(".new");
        let mut file = File::create(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temp, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;

    #[test]
    fn what_is_saved_is_loaded_and_garbage_is_an_error() {
        let own = crate::NodeInfo { id: Id([5; 20]), addr: ([0; 4], 1).into() };
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path().join("dht.state"));
        assert!(file.load().unwrap().is_none());
        let snapshot = Snapshot { own: vec![own], contacts: vec![] };
        file.save(&snapshot).unwrap();
        file.save(&snapshot).unwrap();
        assert_eq!(file.load().unwrap(), Some(snapshot));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(file.path(), b"garbage").unwrap();
        assert!(file.load().unwrap_err().to_string().contains("not a snapshot"));
        fs::write(file.path(), vec![0; SNAPSHOT_BYTES_MAX * 2]).unwrap();
        assert!(file.load().is_err());
        assert_eq!(file.load_or_set_aside().unwrap(), None);
        assert!(!file.path().exists() && folder.path().join("dht.damaged").exists());
        let nowhere = StateFile::new(folder.path().join("no/such/folder/file"));
        let snapshot = Snapshot { own: vec![own], contacts: vec![] };
        assert!(nowhere.save(&snapshot).unwrap_err().to_string().contains("no/such/folder"));
    }
}
