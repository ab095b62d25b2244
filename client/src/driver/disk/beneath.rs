//! Paths beneath a folder, checked by the kernel: nothing, no symbolic link either, leads out of it
//! (openat2(2), RESOLVE_BENEATH).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The folder that a torrent's paths lie beneath.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    path: PathBuf,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Root { folder, path: path.to_path_buf() })
    }

    /// Where `path` is, for messages.
    pub(super) fn show(&self, path: &[String]) -> PathBuf {
        path.iter().fold(self.path.clone(), |path, element| path.join(element))
    }

    /// The folder itself.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.folder
    }

    /// Opens what lies beneath.
    pub(super) fn open_beneath(&self, path: &[String], flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        let mode =
            if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        if path.is_empty() {
            return Ok(rustix::fs::openat(&self.folder, ".", flags, mode)?.into());
        }
        let joined: PathBuf = path.iter().collect();
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.folder, &joined, flags, mode, resolve) {
            Ok(fd) => Ok(fd.into()),
            // Kernels before 5.6, and sandboxes that do not let it through.
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(path, flags, mode),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens element by element and follows no symbolic link at all.
    fn open_step_by_step(&self, path: &[String], flags: OFlags, mode: Mode) -> io::Result<File> {
        let Some((last, folders)) = path.split_last() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let step = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = self.folder.try_clone()?;
        for folder in folders {
            at = rustix::fs::openat(&at, folder, step, Mode::empty())?;
        }
        Ok(rustix::fs::openat(&at, last, flags | OFlags::NOFOLLOW, mode)?.into())
    }

    /// The folder that `path` lies in, and its name there.
    pub(super) fn parent<'a>(&self, path: &'a [String]) -> io::Result<(File, &'a str)> {
        let Some((name, folder)) = path.split_last() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.open_beneath(folder, OFlags::DIRECTORY | OFlags::RDONLY)?, name))
    }

    /// Makes a folder and those above it.
    pub(super) fn make_folder(&self, path: &[String]) -> io::Result<()> {
        for depth in 1..=path.len() {
            let (parent, name) = self.parent(&path[..depth])?;
            match rustix::fs::mkdirat(parent.as_fd(), name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What exists there may be a file.
        self.open_beneath(path, OFlags::DIRECTORY | OFlags::RDONLY).map(drop)
    }

    pub(super) fn rename(&self, from: &[String], to: &[String]) -> io::Result<()> {
        let (from_folder, from_name) = self.parent(from)?;
        let (to_folder, to_name) = self.parent(to)?;
        Ok(rustix::fs::renameat(from_folder.as_fd(), from_name, to_folder.as_fd(), to_name)?)
    }

    pub(super) fn unlink(&self, path: &[String]) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        match rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
