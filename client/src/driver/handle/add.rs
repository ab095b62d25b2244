//! What is added to a session.

use std::path::PathBuf;
use std::sync::Arc;

use wire::InfoHash;
use wire::magnet::Magnet;
use wire::metainfo::Info;

use crate::driver::HashedPath;

/// What a torrent is known by.
pub(in crate::driver) enum What {
    /// Its info-hash alone; the peers have the rest.
    InfoHash(InfoHash),
    /// Its info dict.
    Info(Arc<Info>),
    /// Its info dict, and the files are there, whole and not to be written.
    Seed(Arc<Info>),
}

/// A torrent to add to a [`Session`](super::Session).
///
/// ```
/// use client::driver::Add;
/// use client::wire::magnet::Magnet;
///
/// let magnet = Magnet::from_user("4a533d47ec9c7d95b1ad75f576cffc641853b750")?;
/// let add = Add::magnet(&magnet, "downloads").peer("192.0.2.1:6881");
/// # Ok::<(), client::wire::magnet::MagnetError>(())
/// ```
#[must_use = "it is to be given to `Session::add`"]
pub struct Add {
    pub(in crate::driver) what: What,
    pub(in crate::driver) root: PathBuf,
    pub(in crate::driver) peers: Vec<String>,
    pub(in crate::driver) metadata_only: bool,
    pub(in crate::driver) files: Option<Vec<u32>>,
    pub(in crate::driver) preallocate: bool,
    pub(in crate::driver) recheck: bool,
}

impl Add {
    fn new(what: What, root: impl Into<PathBuf>) -> Add {
        Add {
            what,
            root: root.into(),
            peers: Vec::new(),
            metadata_only: false,
            files: None,
            preallocate: false,
            recheck: false,
        }
    }

    /// Fetches a torrent of which nothing but the info-hash is known into the folder `root`, which is
    /// made. What an earlier run left there is gone on with.
    pub fn info_hash(info_hash: InfoHash, root: impl Into<PathBuf>) -> Add {
        Add::new(What::InfoHash(info_hash), root)
    }

    /// Fetches what a magnet link names, likewise, and asks the peers that it names, too. Of several
    /// files those that it chooses (BEP 53, `so`).
    pub fn magnet(magnet: &Magnet, root: impl Into<PathBuf>) -> Add {
        let mut add = Add::info_hash(magnet.info_hash, root);
        add.files = magnet.select.clone();
        magnet.peers.iter().fold(add, |add, (host, port)| match host.contains(':') {
            true => add.peer(format!("[{host}]:{port}")),
            false => add.peer(format!("{host}:{port}")),
        })
    }

    /// Fetches a torrent whose info dict is known, as of a torrent file
    /// ([`Metainfo`](wire::metainfo::Metainfo)), into the folder `root`, which is made. What lies
    /// there already is checked, and gone on with.
    pub fn info(info: impl Into<Arc<Info>>, root: impl Into<PathBuf>) -> Add {
        Add::new(What::Info(info.into()), root)
    }

    /// Serves what [`hash_path`](crate::driver::hash_path) hashed. The files are not hashed again, and
    /// never written.
    pub fn seed(hashed: HashedPath) -> Add {
        Add::new(What::Seed(Arc::new(hashed.info)), hashed.root)
    }

    /// Asks this peer too, as `HOST:PORT`; repeatable.
    pub fn peer(mut self, host_port: impl Into<String>) -> Add {
        self.peers.push(host_port.into());
        self
    }

    /// Fetches these files and no others, by their number in the info dict, from 0. One that it does
    /// not have fails the torrent. What pieces have of other files is kept in a sparse file beside the
    /// journal; other files that are there are used, and served. Default: all.
    pub fn files(mut self, files: impl IntoIterator<Item = u32>) -> Add {
        self.files = Some(files.into_iter().collect());
        self
    }

    /// Reads all that is there of what is wanted, whatever an earlier run recorded; once, when it
    /// begins. What is wrong is fetched again. Default: only what may have changed is read.
    pub fn recheck(mut self) -> Add {
        self.recheck = true;
        self
    }

    /// Takes the room for all files when they are made, where the file system can: the disk cannot be
    /// full for them later, but for the journal. Default: they are sparse.
    pub fn preallocate(mut self) -> Add {
        self.preallocate = true;
        self
    }

    /// Fetches the info dict and nothing else: [`TorrentEvent::Metadata`](crate::TorrentEvent)
    /// brings it, and it is time to remove the torrent. No folder is made. Default: all of it.
    pub fn metadata_only(mut self) -> Add {
        self.metadata_only = true;
        self
    }
}
