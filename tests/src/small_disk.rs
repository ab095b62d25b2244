//! A file system of a few megabytes, which a test can fill.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::prefixed;
use crate::process::Process;
use crate::wait::secs;

/// A tmpfs in a mount namespace of its own: it ends with the value, whatever becomes of the test.
pub struct SmallDisk {
    holder: Process,
    mount: PathBuf,
}

impl SmallDisk {
    /// A file system of `bytes` at the folder `mount`. Needs root.
    pub fn new(mount: &Path, bytes: u64, logs: &Path) -> Self {
        let script = format!(
            "mount -t tmpfs -o size={bytes} tmpfs \"$0\" && echo mounted && exec sleep infinity"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(mount);
        let mut holder = Process::spawn("small-disk", command, logs);
        holder.wait_line("a mount", secs(20), |line| (line == "mounted").then_some(()));
        Self { holder, mount: mount.to_owned() }
    }

    /// `command`, to be run where the file system is seen.
    pub fn inside(&self, command: &Command) -> Command {
        // To enter a mount namespace is to leave the current folder.
        let folder = command.get_current_dir().unwrap_or(Path::new("/"));
        let holder = self.holder.id().to_string();
        let enter = ["nsenter", "--mount", "--target", &holder, "sh", "-c"].map(PathBuf::from);
        let script = ["cd \"$0\" && exec \"$@\"".into(), folder.to_owned()];
        prefixed(enter.into_iter().chain(script), command)
    }

    /// Its root as this test sees it.
    pub fn path(&self) -> PathBuf {
        let inside = self.mount.strip_prefix("/").unwrap_or(&self.mount);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::output_of;
    use std::fs;

    #[test]
    fn it_is_small_and_seen_inside_only() {
        let scratch = tempfile::tempdir().unwrap();
        let mount = scratch.path().join("disk");
        fs::create_dir(&mount).unwrap();
        let disk = SmallDisk::new(&mount, 1 << 20, scratch.path());
        let error = fs::write(disk.path().join("big"), vec![1; 2 << 20]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        fs::remove_file(disk.path().join("big")).unwrap();
        fs::write(disk.path().join("small"), "seen").unwrap();
        let mut command = Command::new("cat");
        command.arg("small").current_dir(&mount);
        assert_eq!(output_of(disk.inside(&command)), "seen");
        assert!(!mount.join("small").exists());
    }
}
