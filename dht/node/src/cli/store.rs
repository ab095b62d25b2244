//! The data folder of a node.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use dht::Snapshot;
use dht::driver::StateFile;

use super::Failure;

/// The file with id and contacts.
const FILE: &str = "dht.state";

/// What a node saved in its data folder, if it has. It may run meanwhile: the file is replaced as a
/// whole.
pub(super) fn saved(folder: &Path) -> Result<Option<Snapshot>, Failure> {
    Ok(StateFile::new(folder.join(FILE)).load()?)
}

/// Nothing of use is saved there.
pub(super) fn not_saved(folder: &Path) -> Failure {
    Failure::Internal(format!(
        "no contacts are saved in {}\n  is it the folder of a `dht-node bootstrap`, which saves ten \
         seconds after its start, every five minutes, and at its end? name a node with --bootstrap",
        folder.display()
    ))
}

/// The data folder, which one process at a time may change.
pub(super) struct Store {
    pub(super) file: StateFile,
    _lock: File,
}

impl Store {
    pub(super) fn open(folder: &Path) -> Result<Store, Failure> {
        let failed = |error: std::io::Error| {
            Failure::Internal(format!("cannot use data folder {}: {error}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Store { file: StateFile::new(folder.join(FILE)), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::Internal(format!(
                "data folder {} is in use by another dht-node\n  stop that one, or give this one \
                 a folder of its own",
                folder.display()
            ))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// What was saved. What cannot be read costs only the warm start.
    pub(super) fn load(&self) -> Option<Snapshot> {
        let loaded = self.file.load_or_set_aside();
        loaded.unwrap_or_else(|error| {
            tracing::warn!(%error, "starting cold");
            None
        })
    }
}
