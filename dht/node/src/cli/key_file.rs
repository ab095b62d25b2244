//! Files with the secret key of mutable items, and `dht-node keygen`, which writes one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use dht::SigningKey;
use serde_json::json;

use super::output::Output;
use super::{Common, Failure};

/// The first line of a key file.
const MAGIC: &str = "trackerless ed25519 key 1";

#[derive(Args, Debug)]
#[command(after_help = "\
The file holds the secret: whoever has it can change your items. It is never overwritten.

Example:
  dht-node keygen my.key && dht-node put --key my.key 'Hello World!'")]
pub(crate) struct Keygen {
    /// The file to write.
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

impl Keygen {
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let signer = SigningKey::from_bytes(&rand::random());
        let public = hex::encode(signer.verifying_key().to_bytes());
        let wrong = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => "\n  give another name: a key is not overwritten",
                _ => "",
            };
            Failure::Internal(format!("{}: {error}{hint}", self.path.display()))
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(wrong)?;
        let text = format!("{MAGIC}\n{}\n{public}\n", hex::encode(signer.to_bytes()));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
        let json = json!({"event": "key", "public_key": public, "file": self.path});
        Ok(Output::new(common).result(&public, json)?)
    }
}

/// Reads the secret key of a file that `keygen` wrote; the public key in it is the check.
pub(crate) fn load(path: &Path) -> Result<SigningKey, Failure> {
    let wrong = |what: &str| {
        let hint = "make one with `dht-node keygen FILE`";
        Failure::Internal(format!("{}: {what}\n  {hint}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(wrong("this is no key file"));
    }
    let mut key = || {
        let mut key = [0; 32];
        hex::decode_to_slice(lines.next().unwrap_or_default(), &mut key).ok().map(|()| key)
    };
    match (key(), key()) {
        (Some(secret), Some(public)) => {
            let signer = SigningKey::from_bytes(&secret);
            match signer.verifying_key().to_bytes() == public {
                true => Ok(signer),
                false => Err(wrong("the keys in it do not belong together: the file is damaged")),
            }
        }
        _ => Err(wrong("the file is cut or damaged")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let signer = SigningKey::from_bytes(&[7; 32]);
        let (secret, public) =
            (hex::encode([7; 32]), hex::encode(signer.verifying_key().to_bytes()));
        for (text, good) in [
            (format!("{MAGIC}\n{secret}\n{public}\n"), true),
            (format!("{MAGIC}\n{secret}\n{public}"), true),
            (format!("{MAGIC}\n{public}\n{secret}\n"), false),
            (format!("{MAGIC}\n{secret}\n"), false),
            (format!("{MAGIC}\n{}\n{public}\n", &secret[1..]), false),
            ("-----BEGIN".into(), false),
            (String::new(), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(load(&path).is_ok(), good, "{text}");
        }
        assert!(load(&dir.path().join("none")).is_err());
    }
}
