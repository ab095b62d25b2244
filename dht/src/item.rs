//! Items that the DHT stores (BEP 44), verified.

use std::fmt;

pub use ed25519_dalek::SigningKey;
use ed25519_dalek::{Signature, VerifyingKey};
use sha1::{Digest, Sha1};
use wire::Id;
use wire::bencode::{self, Encoder, Limits, Value};
use wire::krpc::{ItemReply, Put, Signed};

/// Bytes of a value, bencoded (BEP 44: others may refuse more).
pub const VALUE_BYTES_MAX: usize = 1_000;
/// Bytes of a salt (BEP 44, "Mutable Items").
pub const SALT_BYTES_MAX: usize = 64;

/// What a value may hold: in a message two levels and its other parts come on top.
const VALUE_LIMITS: Limits = Limits {
    depth_max: Limits::KRPC.depth_max - 2,
    items_max: Limits::KRPC.items_max - 40,
    bytes_max: VALUE_BYTES_MAX,
};

/// Under what an item is looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ItemKey {
    /// The SHA-1 of the value.
    Immutable(Id),
    /// Whose item it is, and which one.
    Mutable {
        /// The ed25519 public key.
        key: [u8; 32],
        /// Tells the items of one key apart; usually empty, at most [`SALT_BYTES_MAX`].
        salt: Vec<u8>,
    },
}

impl ItemKey {
    /// Where in the DHT it is stored: for a mutable item the SHA-1 of key and salt.
    pub fn target(&self) -> Id {
        match self {
            ItemKey::Immutable(target) => *target,
            ItemKey::Mutable { key, salt } => target_of(key, salt),
        }
    }
}

fn target_of(key: &[u8; 32], salt: &[u8]) -> Id {
    Id(Sha1::new().chain_update(key).chain_update(salt).finalize().into())
}

/// A value that is what it claims to be: its hash or its signature was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    value: Box<[u8]>,
    mutable: Option<Box<Mutable>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Mutable {
    key: [u8; 32],
    salt: Box<[u8]>,
    seq: i64,
    sig: [u8; 64],
}

/// Why something is no item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemError {
    /// The value is no canonical bencode.
    NoBencode,
    /// The value has more than [`VALUE_BYTES_MAX`] bytes.
    ValueTooBig,
    /// The value is nested deeper, or has more parts, than others read.
    ValueTooNested,
    /// The salt has more than [`SALT_BYTES_MAX`] bytes.
    SaltTooBig,
    /// The sequence number is negative.
    NegativeSeq,
    /// The key is none, or the signature not by it.
    InvalidSignature,
    /// It is not the item that was looked for.
    OtherTarget,
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ItemError::NoBencode => {
                "the value is no canonical bencode; a text of 5 bytes looks like 5:hello"
            }
            ItemError::ValueTooBig => "the value takes more than 1000 bytes as bencode",
            ItemError::ValueTooNested => "the value is nested too deep or has too many parts",
            ItemError::SaltTooBig => "the salt has more than 64 bytes",
            ItemError::NegativeSeq => "the sequence number is negative",
            ItemError::InvalidSignature => "the signature is not by the key",
            ItemError::OtherTarget => "the item belongs to another key",
        })
    }
}

impl std::error::Error for ItemError {}

impl Item {
    /// An item that nobody can change: `value` is canonical bencode.
    pub fn immutable(value: &[u8]) -> Result<Item, ItemError> {
        Ok(Item { value: checked(value)?.into(), mutable: None })
    }

    /// Signs an item; one with a higher `seq` takes its place later.
    pub fn sign(
        signer: &SigningKey,
        salt: &[u8],
        seq: i64,
        value: &[u8],
    ) -> Result<Item, ItemError> {
        use ed25519_dalek::Signer;
        let value = checked(value)?;
        if salt.len() > SALT_BYTES_MAX {
            return Err(ItemError::SaltTooBig);
        }
        if seq < 0 {
            return Err(ItemError::NegativeSeq);
        }
        let sig = signer.sign(&signed_bytes(salt, seq, value)).to_bytes();
        let (key, salt) = (signer.verifying_key().to_bytes(), salt.into());
        Ok(Item { value: value.into(), mutable: Some(Box::new(Mutable { key, salt, seq, sig })) })
    }

    /// The item of a `put`. Sizes come first: they cost less than a signature.
    pub fn from_put(put: &Put<'_>) -> Result<Item, ItemError> {
        Item::verified(put.value.raw(), put.signed)
    }

    /// The item of the answer to a `get` for `key`; `None` without a value.
    pub fn from_reply(reply: &ItemReply<'_>, key: &ItemKey) -> Option<Result<Item, ItemError>> {
        let value = reply.value?.raw();
        Some(match key {
            ItemKey::Immutable(target) => Item::verified(value, None).and_then(|item| {
                if item.target() == *target { Ok(item) } else { Err(ItemError::OtherTarget) }
            }),
            ItemKey::Mutable { key, salt } => match (reply.signed, reply.seq) {
                (Some((told, sig)), Some(seq)) if told == key => {
                    Item::verified(value, Some(Signed { key, salt, seq, sig, cas: None }))
                }
                _ => Err(ItemError::OtherTarget),
            },
        })
    }

    fn verified(value: &[u8], signed: Option<Signed<'_>>) -> Result<Item, ItemError> {
        let value = checked(value)?;
        let Some(Signed { key, salt, seq, sig, .. }) = signed else {
            return Ok(Item { value: value.into(), mutable: None });
        };
        if salt.len() > SALT_BYTES_MAX {
            return Err(ItemError::SaltTooBig);
        }
        if seq < 0 {
            return Err(ItemError::NegativeSeq);
        }
        // Strict: one signature for a message and key, no keys of small order (RFC 8032, 5.1.7), so
        // that all nodes agree on what is valid.
        let message = signed_bytes(salt, seq, value);
        VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(&message, &Signature::from_bytes(sig)))
            .map_err(|_| ItemError::InvalidSignature)?;
        let mutable = Mutable { key: *key, salt: salt.into(), seq, sig: *sig };
        Ok(Item { value: value.into(), mutable: Some(Box::new(mutable)) })
    }

    /// The value: canonical bencode.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The sequence number of a mutable item.
    pub fn seq(&self) -> Option<i64> {
        self.mutable.as_ref().map(|m| m.seq)
    }

    /// Under what it is looked up.
    pub fn key(&self) -> ItemKey {
        match &self.mutable {
            None => ItemKey::Immutable(self.target()),
            Some(m) => ItemKey::Mutable { key: m.key, salt: m.salt.to_vec() },
        }
    }

    /// Where in the DHT it is stored.
    pub fn target(&self) -> Id {
        match &self.mutable {
            None => Id(Sha1::digest(&self.value).into()),
            Some(m) => target_of(&m.key, &m.salt),
        }
    }

    /// The arguments of a `put` of it.
    pub(crate) fn put<'a>(&'a self, token: &'a [u8], cas: Option<i64>) -> Option<Put<'a>> {
        let value = Value::parse(&self.value, Limits::KRPC).ok()?;
        let signed = self.mutable.as_ref().map(|m| Signed {
            key: &m.key,
            salt: &m.salt,
            seq: m.seq,
            sig: &m.sig,
            cas,
        });
        Some(Put { token, value, signed })
    }

    /// What a reply tells of it, its value included.
    pub(crate) fn reply(&self) -> ItemReply<'_> {
        ItemReply {
            value: Value::parse(&self.value, Limits::KRPC).ok(),
            signed: self.mutable.as_ref().map(|m| (&m.key, &m.sig)),
            seq: self.seq(),
        }
    }

    /// Bytes that it takes in a reply beside its frame.
    pub(crate) fn reply_len(&self) -> usize {
        // `1:v`, and of a mutable one `1:k32:`, `3:seqi..e` and `3:sig64:`.
        let signed = 6 + 32 + 27 + 8 + 64;
        self.value.len() + 3 + if self.mutable.is_some() { signed } else { 0 }
    }
}

/// The value, if it may be stored.
fn checked(value: &[u8]) -> Result<&[u8], ItemError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(ItemError::ValueTooBig);
    }
    match Value::parse(value, VALUE_LIMITS) {
        Ok(parsed) if parsed.is_canonical() => Ok(value),
        Err(bencode::Error::TooLarge) => Err(ItemError::ValueTooNested),
        _ => Err(ItemError::NoBencode),
    }
}

/// What is signed (BEP 44, "Signature Verification"): the entries of salt, unless it is empty,
/// sequence number and value, one after the other.
fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(salt.len() + value.len() + 40);
    if !salt.is_empty() {
        out.extend_from_slice(b"4:salt");
        Encoder::new(&mut out).bytes(salt);
    }
    out.extend_from_slice(b"3:seq");
    Encoder::new(&mut out).int(seq);
    out.extend_from_slice(b"1:v");
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap();
        std::array::from_fn(byte)
    }

    const KEY: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
    const HELLO: &[u8] = b"12:Hello World!";

    fn signed<'a>(key: &'a [u8; 32], salt: &'a [u8], seq: i64, sig: &'a [u8; 64]) -> Signed<'a> {
        Signed { key, salt, seq, sig, cas: None }
    }

    fn vector(salt: &[u8], sig: &str) -> Result<Item, ItemError> {
        Item::verified(HELLO, Some(signed(&bytes(KEY), salt, 1, &bytes(sig))))
    }

    #[test]
    fn the_vectors_of_bep_44_hold() {
        let plain = "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
                     1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01";
        let salted = "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
                      df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08";
        assert_eq!(signed_bytes(b"", 1, HELLO), b"3:seqi1e1:v12:Hello World!");
        assert_eq!(signed_bytes(b"foobar", 1, HELLO), b"4:salt6:foobar3:seqi1e1:v12:Hello World!");
        for (salt, sig, target) in [
            (&b""[..], plain, "4a533d47ec9c7d95b1ad75f576cffc641853b750"),
            (b"foobar", salted, "411eba73b6f087ca51a3795d9c8c938d365e32c1"),
        ] {
            let item = vector(salt, sig).unwrap();
            assert_eq!(item.target().to_string(), target);
            assert_eq!(item.key().target(), item.target());
        }
        assert_eq!(vector(b"foobar", plain), Err(ItemError::InvalidSignature));
        assert_eq!(vector(b"", salted), Err(ItemError::InvalidSignature));
        let immutable = Item::immutable(HELLO).unwrap();
        assert_eq!(immutable.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
    }

    #[test]
    fn the_targets_of_bep_46_hold() {
        let key = bytes("8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e");
        for (salt, target) in [
            (&b""[..], "cc3f9d90b572172053626f9980ce261a850d050b"),
            (b"n", "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f"),
        ] {
            assert_eq!(target_of(&key, salt).to_string(), target);
        }
    }

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not() {
        let signer = SigningKey::from_bytes(&[7; 32]);
        let item = Item::sign(&signer, b"s", 5, b"i1e").unwrap();
        let m = item.mutable.as_deref().unwrap();
        let verify = |value: &[u8], salt: &[u8], seq| {
            Item::verified(value, Some(signed(&m.key, salt, seq, &m.sig)))
        };
        assert_eq!(verify(b"i1e", b"s", 5), Ok(item.clone()));
        for (value, salt, seq) in [(&b"i2e"[..], &b"s"[..], 5), (b"i1e", b"", 5), (b"i1e", b"s", 6)]
        {
            assert_eq!(verify(value, salt, seq), Err(ItemError::InvalidSignature));
        }
        let long = [b"1001:".as_slice(), &[b'x'; 996]].concat();
        for (value, salt_len, seq, error) in [
            (&b"x"[..], 0, 0, ItemError::NoBencode),
            (b"i01e", 0, 0, ItemError::NoBencode),
            (&long, 0, 0, ItemError::ValueTooBig),
            (b"lllllllllleeeeeeeeee", 0, 0, ItemError::ValueTooNested),
            (b"i1e", 65, 0, ItemError::SaltTooBig),
            (b"i1e", 64, -1, ItemError::NegativeSeq),
        ] {
            let salt = vec![b's'; salt_len];
            assert_eq!(Item::sign(&signer, &salt, seq, value), Err(error));
        }
    }

    #[test]
    fn signatures_are_verified_strictly() {
        let signer = SigningKey::from_bytes(&[7; 32]);
        let item = Item::sign(&signer, b"", 1, b"i1e").unwrap();
        let m = item.mutable.as_deref().unwrap();
        // S + L is the same number to a lax verifier (RFC 8032, 5.1.7).
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (mut other, mut carry) = (m.sig, 0);
        for (byte, add) in other[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        let verify = |key: &[u8; 32], sig: &[u8; 64]| {
            Item::verified(b"i1e", Some(signed(key, b"", 1, sig))).map(drop)
        };
        assert_eq!(verify(&m.key, &m.sig), Ok(()));
        assert_eq!(verify(&m.key, &other), Err(ItemError::InvalidSignature));
        // The neutral element as key and R, with S = 0: valid for any message to a lax verifier.
        let (mut key, mut sig) = ([0; 32], [0; 64]);
        (key[0], sig[0]) = (1, 1);
        assert_eq!(verify(&key, &sig), Err(ItemError::InvalidSignature));
    }

    #[test]
    fn a_reply_is_believed_only_if_it_is_what_was_looked_for() {
        let signer = SigningKey::from_bytes(&[7; 32]);
        let item = Item::sign(&signer, b"s", 5, b"i1e").unwrap();
        let reply = item.reply();
        assert_eq!(Item::from_reply(&reply, &item.key()), Some(Ok(item.clone())));
        let key = signer.verifying_key().to_bytes();
        let unsalted = ItemKey::Mutable { key, salt: vec![] };
        assert_eq!(Item::from_reply(&reply, &unsalted), Some(Err(ItemError::InvalidSignature)));
        let of_other = ItemKey::Mutable { key: [1; 32], salt: b"s".to_vec() };
        assert_eq!(Item::from_reply(&reply, &of_other), Some(Err(ItemError::OtherTarget)));
        let unsigned = ItemReply { signed: None, ..reply };
        assert_eq!(Item::from_reply(&unsigned, &item.key()), Some(Err(ItemError::OtherTarget)));
        assert_eq!(Item::from_reply(&ItemReply { value: None, ..reply }, &item.key()), None);
        let immutable = Item::immutable(b"i1e").unwrap();
        let found = Item::from_reply(&unsigned, &immutable.key());
        assert_eq!(found, Some(Ok(immutable)));
        let other = ItemKey::Immutable(Id([3; 20]));
        assert_eq!(Item::from_reply(&unsigned, &other), Some(Err(ItemError::OtherTarget)));
    }
}
