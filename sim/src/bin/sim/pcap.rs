//! A capture that goes into a file.
#![allow(clippy::disallowed_types, reason = "a program writes files")]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sim::{Capture, HostId};

/// The file of a capture.
pub struct Pcap {
    path: PathBuf,
    writing: Arc<Mutex<Writing>>,
}

/// What was written, and the first that was wrong with it.
struct Writing {
    file: BufWriter<File>,
    done: io::Result<()>,
}

impl Pcap {
    /// Makes the file, in place of one that is there, and the capture of a host of so many that goes into
    /// it as it comes.
    pub fn begin(path: &Path, host: u32, hosts: u32) -> Result<(Pcap, Capture), String> {
        if host >= hosts {
            return Err(format!("there is no host {host}; there are {hosts}, counted from 0"));
        }
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let writing = Writing { file: BufWriter::new(file), done: Ok(()) };
        let writing = Arc::new(Mutex::new(writing));
        let sink = writing.clone();
        let capture = Capture::new(HostId(host), move |bytes| {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            if sink.done.is_ok() {
                sink.done = sink.file.write_all(bytes);
            }
        });
        Ok((Pcap { path: path.to_owned(), writing }, capture))
    }

    /// Writes what is left, and tells if anything could not be written. What comes later is not.
    pub fn end(self) -> Result<(), String> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let done = std::mem::replace(&mut writing.done, Err(io::ErrorKind::Other.into()))
            .and_then(|()| writing.file.flush());
        done.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}
