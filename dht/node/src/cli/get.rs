//! `dht-node get`

use std::io::Write;

use clap::Args;
use dht::{Event, Item, ItemKey, SALT_BYTES_MAX};
use serde_json::{Value as Json, json};
use wire::Id;
use wire::bencode::{Limits, Value};

use super::session::Session;
use super::{Common, Failure, Patience};

#[derive(Args, Debug)]
#[command(after_help = "\
Prints the value: of a string its bytes, of all else the bencode. What is printed has the hash that
was asked for, or the signature of the key.

Examples:
  dht-node get e5f96f6f38320f0f33959cb4d3d656452117aadb
      what nobody can change, by its hash
  dht-node get --salt news 77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548
      the newest that the owner of a key stored under a name")]
pub(crate) struct Get {
    /// The item's hash, 40 hexadecimal digits; or its owner's public key, 64.
    #[arg(value_name = "HASH|KEY", value_parser = item_key)]
    key: ItemKey,

    /// Which of the items of the key: any text of at most 64 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = salt)]
    salt: String,

    /// Print the bencode itself, and nothing after it.
    #[arg(long, conflicts_with = "json")]
    bencode: bool,

    #[command(flatten)]
    patience: Patience,
}

impl Get {
    pub(crate) async fn run(mut self, common: &Common) -> Result<(), Failure> {
        if let ItemKey::Mutable { salt, .. } = &mut self.key {
            *salt = self.salt.clone().into_bytes();
        } else if !self.salt.is_empty() {
            let text = "--salt belongs to a public key of 64 digits; a hash names one item alone";
            return Err(Failure::Usage(text.into()));
        }
        let mut session = Session::start(common, self.patience, true)?;
        let (found, holders) = find(&mut session, &self.key).await?;
        let Some(item) = found else {
            return Err(session.nothing(match self.key {
                ItemKey::Immutable(_) => "no node has this item; one of a key is found by the key",
                ItemKey::Mutable { .. } => "no node has this item of the key",
            }));
        };
        if self.bencode {
            let mut out = std::io::stdout().lock();
            out.write_all(item.value())?;
            // Without a newline it would stay there, and a failure with it.
            return Ok(out.flush()?);
        }
        let json = json!({
            "event": "item", "target": item.target().to_string(), "value": json_value(&item),
            "bencode": hex::encode(item.value()), "seq": item.seq(), "holders": holders,
            "elapsed_ms": session.elapsed_ms(),
        });
        match Value::parse(item.value(), Limits::KRPC).ok().and_then(|value| value.as_bytes()) {
            Some(bytes) if !common.json => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes)?;
                Ok(out.write_all(b"\n")?)
            }
            _ => Ok(session.out.result(&String::from_utf8_lossy(item.value()), json)?),
        }
    }
}

/// The item, the newest if it can change, and how many nodes have it; these `None` if time was up.
pub(super) async fn find(
    session: &mut Session,
    key: &ItemKey,
) -> Result<(Option<Item>, Option<u32>), Failure> {
    let now = session.driver.now();
    let lookup = session.driver.node_mut().get(now, key, None);
    let mut found = None;
    let holders = session.until(lookup, |event| match event {
        Event::ItemFound { item, .. } => {
            found = Some(item);
            None
        }
        Event::LookupDone { holders, .. } => Some(holders),
        _ => None,
    });
    let holders = holders.await?;
    Ok((found, holders))
}

/// A string that is text, or an integer; all else is told by its bencode alone.
fn json_value(item: &Item) -> Json {
    match Value::parse(item.value(), Limits::KRPC) {
        Ok(value) => match (value.as_str(), value.as_int()) {
            (Some(text), _) => json!(text),
            (_, Some(number)) => json!(number),
            _ => Json::Null,
        },
        Err(_) => Json::Null,
    }
}

fn item_key(text: &str) -> Result<ItemKey, String> {
    let mut key = [0; 32];
    if hex::decode_to_slice(text, &mut key).is_ok() {
        return Ok(ItemKey::Mutable { key, salt: Vec::new() });
    }
    let hash = text
        .parse::<Id>()
        .map_err(|_| "neither a hash of 40 hexadecimal digits nor a public key of 64".to_owned())?;
    Ok(ItemKey::Immutable(hash))
}

pub(super) fn salt(text: &str) -> Result<String, String> {
    match text.len() {
        0..=SALT_BYTES_MAX => Ok(text.to_owned()),
        len => Err(format!("{len} bytes are more than the {SALT_BYTES_MAX} of a salt")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_from_a_hash_by_its_length() {
        assert_eq!(item_key(&"a5".repeat(20)), Ok(ItemKey::Immutable(Id([0xa5; 20]))));
        let key = ItemKey::Mutable { key: [0xa5; 32], salt: vec![] };
        assert_eq!(item_key(&"A5".repeat(32)), Ok(key));
        for bad in ["", "a5", &"a5".repeat(21), &"g5".repeat(32)] {
            assert!(item_key(bad).is_err(), "{bad}");
        }
        assert!(salt(&"s".repeat(64)).is_ok() && salt(&"s".repeat(65)).is_err());
    }
}
