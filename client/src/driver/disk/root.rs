//! A folder that no path beneath it leads out of.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::execute::error_at;
use crate::disk::{DiskError, RelPath};

/// How often an open is tried again that the kernel could not prove safe because somebody renamed
/// folders meanwhile (openat2(2), EAGAIN).
const TRIES: usize = 16;

/// The folder that a torrent's paths lie beneath.
pub(in crate::driver) struct Root {
    fd: OwnedFd,
    path: PathBuf,
    has_openat2: bool,
    /// Its own name and those of the folders above have reached stable storage.
    is_named: AtomicBool,
}

impl Root {
    /// Opens the folder.
    pub(in crate::driver) fn open(path: PathBuf) -> Result<Root, DiskError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())
            .map_err(|error| error_at(&path, &error.into()))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // Kernels before 5.6 do not know the call, and some sandboxes forbid what they do not know.
        let probe = rustix::fs::openat2(&fd, ".", flags, Mode::empty(), resolve);
        let has_openat2 = probe.is_ok();
        Ok(Root { fd, path, has_openat2, is_named: AtomicBool::new(false) })
    }

    /// Whether this is the folder that is at `path` now.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let name = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        self.path == path
            && matches!((rustix::fs::fstat(&self.fd), rustix::fs::stat(path)), (Ok(ours), Ok(its)) if name(ours) == name(its))
    }

    /// Never asks the kernel to keep to the folder, as on old kernels.
    #[cfg(test)]
    pub(super) fn without_openat2(mut self) -> Root {
        self.has_openat2 = false;
        self
    }

    /// A path for people.
    pub(in crate::driver) fn display(&self, path: &RelPath) -> PathBuf {
        path.iter().fold(self.path.clone(), |whole, element| whole.join(element))
    }

    /// Opens what lies at `path`; empty is the folder itself.
    pub(super) fn open_at(&self, path: &[String], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let mode =
            if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        path.iter().try_for_each(|element| check(element))?;
        if !self.has_openat2 {
            return self.walk(path, flags, mode);
        }
        let joined = if path.is_empty() { ".".to_owned() } else { path.join("/") };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 1..TRIES {
            match rustix::fs::openat2(&self.fd, joined.as_str(), flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
        Ok(rustix::fs::openat2(&self.fd, joined.as_str(), flags, mode, resolve)?)
    }

    /// Element by element, and through no symbolic link at all.
    fn walk(&self, path: &[String], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some((last, parents)) = path.split_last() else {
            return Ok(rustix::fs::openat(&self.fd, ".", flags, mode)?);
        };
        let mut at = self.fd.try_clone()?;
        for element in parents {
            at = rustix::fs::openat(&at, element.as_str(), folder, Mode::empty())?;
        }
        let fd = rustix::fs::openat(&at, last.as_str(), flags | OFlags::NOFOLLOW, mode)?;
        // With O_PATH a link is opened itself.
        if flags.contains(OFlags::PATH) {
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
            if kind.is_symlink() {
                return Err(Errno::LOOP.into());
            }
        }
        Ok(fd)
    }

    /// The folder that `path`'s last element lies in, and that element.
    pub(super) fn parent<'a>(&self, path: &'a [String]) -> io::Result<(OwnedFd, &'a str)> {
        let (last, parents) = path.split_last().ok_or(Errno::INVAL)?;
        check(last)?;
        Ok((self.open_at(parents, OFlags::PATH | OFlags::DIRECTORY)?, last))
    }

    /// Makes a folder and those above it.
    pub(super) fn make_folder(&self, path: &[String]) -> io::Result<()> {
        for depth in 1..=path.len() {
            let (parent, name) = self.parent(&path[..depth])?;
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY).map(drop)
    }

    /// Brings the names in a folder to stable storage; of the folder itself its own name, too, and those of
    /// all above it: what is kept in it would go with them.
    pub(super) fn sync_folder(&self, path: &[String]) -> io::Result<()> {
        sync(self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        if path.is_empty() && !self.is_named.load(Ordering::Relaxed) {
            for above in self.path.canonicalize()?.ancestors().skip(1) {
                // Without the right to read it, nobody can ask for that.
                File::open(above).map_or(Ok(()), sync)?;
            }
            self.is_named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn as_fd(&self) -> impl AsFd + '_ {
        &self.fd
    }
}

fn sync(folder: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        // The file system has no such thing, or nothing is written to it.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Only plain names are elements of a path.
fn check(element: &str) -> io::Result<()> {
    let is_plain = !matches!(element, "" | "." | "..") && !element.contains(['/', '\0']);
    if is_plain { Ok(()) } else { Err(Errno::INVAL.into()) }
}
