//! Items to be stored (BEP 44), signed once.

use std::sync::LazyLock;

use dht::{Item, ItemKey, SigningKey};
use ed25519_dalek::Signer;
use wire::Id;
use wire::bencode::{Limits, Value};
use wire::krpc::{ItemReply, Put, Signed};

/// The value of an item whose signature is wrong.
pub(crate) const FORGED: &[u8] = b"6:forged";

/// One item, right or wrong.
pub(crate) struct Sample {
    value: Vec<u8>,
    signed: Option<Signature>,
    pub(crate) target: Id,
}

struct Signature {
    key: [u8; 32],
    salt: Vec<u8>,
    seq: i64,
    sig: [u8; 64],
}

impl Sample {
    /// What puts it.
    pub(crate) fn put<'a>(&'a self, token: &'a [u8], cas: Option<i64>) -> Option<Put<'a>> {
        let value = Value::parse(&self.value, Limits::KRPC).ok()?;
        let signed = self.signed.as_ref().map(|Signature { key, salt, seq, sig }| Signed {
            key,
            salt,
            seq: *seq,
            sig,
            cas,
        });
        Some(Put { token, value, signed })
    }

    /// What a reply tells of it.
    pub(crate) fn reply(&self) -> ItemReply<'_> {
        let signed = self.signed.as_ref();
        ItemReply {
            value: Value::parse(&self.value, Limits::KRPC).ok(),
            signed: signed.map(|signed| (&signed.key, &signed.sig)),
            seq: signed.map(|signed| signed.seq),
        }
    }

    /// The item, if it is a right one.
    pub(crate) fn item(&self) -> Option<Item> {
        Item::from_put(&self.put(b"", None)?).ok()
    }

    /// Under what it is looked up.
    pub(crate) fn key(&self) -> ItemKey {
        match &self.signed {
            None => ItemKey::Immutable(self.target),
            Some(Signature { key, salt, .. }) => ItemKey::Mutable { key: *key, salt: salt.clone() },
        }
    }
}

/// All of them.
pub(crate) static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let text = |len: usize| [format!("{len}:").into_bytes(), vec![b'x'; len]].concat();
    vec![
        immutable(b"5:hello"),
        immutable(&text(996)),
        immutable(&text(997)),
        mutable(b"", 1, b"3:one"),
        mutable(b"", 2, b"3:two"),
        mutable(b"salt", 1, &text(996)),
        mutable(&[b's'; 65], 1, b"de"),
        forged(),
    ]
});

fn immutable(value: &[u8]) -> Sample {
    let target = Item::immutable(value).map(|item| item.target());
    Sample { value: value.to_vec(), signed: None, target: target.unwrap_or_default() }
}

fn mutable(salt: &[u8], seq: i64, value: &[u8]) -> Sample {
    let signer = SigningKey::from_bytes(&[7; 32]);
    let mut message = Vec::new();
    if !salt.is_empty() {
        message.extend_from_slice(format!("4:salt{}:", salt.len()).as_bytes());
        message.extend_from_slice(salt);
    }
    message.extend_from_slice(format!("3:seqi{seq}e1:v").as_bytes());
    message.extend_from_slice(value);
    let (key, sig) = (signer.verifying_key().to_bytes(), signer.sign(&message).to_bytes());
    let target = ItemKey::Mutable { key, salt: salt.to_vec() }.target();
    let signed = Some(Signature { key, salt: salt.to_vec(), seq, sig });
    Sample { value: value.to_vec(), signed, target }
}

fn forged() -> Sample {
    Sample { value: FORGED.to_vec(), ..mutable(b"", 3, b"3:six") }
}
