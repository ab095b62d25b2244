//! `dht-node put`

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use dht::{Event, Item, ItemError, ItemKey};
use serde_json::json;
use wire::bencode::Encoder;

use super::get::{find, salt};
use super::key_file;
use super::session::{Session, s};
use super::{Common, Failure, Patience};

const LATE: &str = "the lookup did not end in time";

#[derive(Args, Debug)]
#[command(after_help = "\
Others forget an item after two hours: put it again each hour while it is to stay.

Examples:
  dht-node put 'Hello World!'
      what nobody can change; prints its hash, by which others get it
  dht-node put --key my.key --salt news 'Version 2 is out'
      what only the owner of the key can change, and others get by the public key that it prints;
      `dht-node keygen my.key` makes one
  dht-node put --file list.torrent --check
      a file's bytes, at most 1000 as bencode; then asks how many nodes have it")]
pub(crate) struct Put {
    /// The value: a text, stored as a string.
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,

    /// Store a file's bytes as a string; - is stdin.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The value is bencode already: a list, a dict, a number or a string.
    #[arg(long)]
    bencode: bool,

    /// Sign it with the key in this file, so that it can be changed later.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Which of the items of the key: any text of at most 64 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = salt, requires = "key")]
    salt: String,

    /// The sequence number; without it, the next after the one that is stored.
    #[arg(long, value_name = "NUMBER", requires = "key")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    seq: Option<i64>,

    /// Replace only an item with this sequence number; without it and --seq, the one that was found.
    #[arg(long, value_name = "NUMBER", requires = "key")]
    cas: Option<i64>,

    /// Ask afterwards how many nodes have it.
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    patience: Patience,
}

impl Put {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let value = self.value()?;
        let signer = self.key.as_deref().map(key_file::load).transpose()?;
        // Says what is wrong with it before anybody is asked.
        let mut item = match &signer {
            None => Item::immutable(&value),
            Some(signer) => Item::sign(signer, self.salt.as_bytes(), self.seq.unwrap_or(0), &value),
        }
        .map_err(no_item)?;
        let mut session = Session::start(common, self.patience, true)?;
        let mut cas = self.cas;
        if let (Some(signer), None) = (&signer, self.seq)
            && let Some(seq) = stored_seq(&mut session, &item).await?
        {
            let Some(next) = seq.checked_add(1) else {
                let text = "the stored item has the highest sequence number that there is\n  \
                            nothing can replace it: choose another --salt or --key";
                return Err(Failure::Conflict(text.into()));
            };
            item = Item::sign(signer, self.salt.as_bytes(), next, &value).map_err(no_item)?;
            cas = cas.or(Some(seq));
        }
        let Some((accepted, cas_mismatches, outdated)) = store(&mut session, &item, cas).await?
        else {
            return Err(session.nothing(LATE));
        };
        if accepted == 0 {
            return Err(match (cas_mismatches, outdated) {
                (0, 0) => session.nothing("no node accepted the item"),
                (0, _) => Failure::Conflict(
                    "a newer item is stored, or another of this sequence number\n  leave --seq out, or \
                     give a higher one"
                        .into(),
                ),
                _ => Failure::Conflict(
                    "the stored item is another one than --cas says: somebody else changed it\n  \
                     get it, and put again"
                        .into(),
                ),
            });
        }
        let holders = match self.check {
            true => count(&mut session, &item).await?,
            false => None,
        };
        self.tell(&mut session, &item, accepted, holders)
    }

    fn tell(
        &self,
        session: &mut Session,
        item: &Item,
        accepted: u32,
        holders: Option<u32>,
    ) -> Result<(), Failure> {
        let ms = session.elapsed_ms();
        let (target, seq) = (item.target().to_string(), item.seq());
        // What `get` takes.
        let (name, key) = match item.key() {
            ItemKey::Immutable(hash) => (hash.to_string(), None),
            ItemKey::Mutable { key, .. } => (hex::encode(key), Some(hex::encode(key))),
        };
        let json = json!({
            "event": "stored", "target": target, "key": key, "salt": key.as_ref().map(|_| &self.salt),
            "seq": seq, "accepted": accepted, "holders": holders, "elapsed_ms": ms,
        });
        let numbered = seq.map(|seq| format!(" with sequence number {seq}")).unwrap_or_default();
        let live = holders.map(|n| format!("; {n} have it on asking")).unwrap_or_default();
        let told = format!("stored by {accepted} node{}{numbered} in {ms} ms{live}", s(accepted));
        let text = if session.out.is_quiet() { name } else { format!("{name} {told}") };
        Ok(session.out.result(&text, json)?)
    }

    /// The value as bencode.
    fn value(&self) -> Result<Vec<u8>, Failure> {
        let bytes = match (&self.text, &self.file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(path)) => {
                // One byte more than fits tells that it does not.
                let most = dht::VALUE_BYTES_MAX as u64 + 1;
                let mut bytes = Vec::new();
                let read = match path.as_os_str() == "-" {
                    true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
                    false => std::fs::File::open(path)
                        .and_then(|file| file.take(most).read_to_end(&mut bytes)),
                };
                read.map_err(|error| Failure::Internal(format!("{}: {error}", path.display())))?;
                bytes
            }
            (None, None) => Vec::new(),
        };
        if self.bencode {
            return Ok(bytes);
        }
        let mut value = Vec::new();
        Encoder::new(&mut value).bytes(&bytes);
        Ok(value)
    }
}

fn no_item(error: ItemError) -> Failure {
    Failure::Usage(error.to_string())
}

/// Stores an item; returns how many nodes accepted it, have another one than `cas`, or a newer one;
/// `None` if time was up.
async fn store(
    session: &mut Session,
    item: &Item,
    cas: Option<i64>,
) -> Result<Option<(u32, u32, u32)>, Failure> {
    let now = session.driver.now();
    let lookup = session.driver.node_mut().put(now, item.clone(), cas);
    let outcome = |event| match event {
        Event::Stored { accepted, cas_mismatches, outdated, .. } => {
            Some((accepted, cas_mismatches, outdated))
        }
        _ => None,
    };
    session.until(lookup, outcome).await
}

/// The sequence number of the item that is stored under the same key.
async fn stored_seq(session: &mut Session, item: &Item) -> Result<Option<i64>, Failure> {
    match find(session, &item.key()).await? {
        (found, Some(_)) => Ok(found.and_then(|found| found.seq())),
        // What was not found in time may be there all the same.
        (_, None) => Err(session.nothing(LATE)),
    }
}

/// How many nodes have exactly this item; `None` if time was up.
async fn count(session: &mut Session, item: &Item) -> Result<Option<u32>, Failure> {
    if item.seq().is_none() {
        let now = session.driver.now();
        let lookup = session.driver.node_mut().count_item(now, &item.key());
        return session.holders(lookup).await;
    }
    // Some say that they took an item of the same sequence number, and keep the one that they have.
    let (found, holders) = find(session, &item.key()).await?;
    match found {
        Some(found) if found != *item => Err(Failure::Conflict(
            "nodes took it, but they keep another item of this sequence number or a higher one\n  \
             leave --seq out, or give a higher one"
                .into(),
        )),
        _ => Ok(holders),
    }
}
