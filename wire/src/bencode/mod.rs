//! Bencode (BEP 3, "bencoding"): a bounded, borrowed decoder and a canonical encoder.
//!
//! The decoder checks a whole message once, without recursion, against [`Limits`]; after that a
//! [`Value`] is a slice of it, and looking inside costs a scan and no allocation. Who knows what to
//! expect reads it by a [`Reader`] in one pass instead, with the same checks. Both are lenient in
//! what they take (key order, leading zeros), and the encoder is strict in what it writes.

mod decode;
mod encode;
mod reader;

pub use decode::{Dict, Error, Limits, List, Value};
pub use encode::Encoder;
pub use reader::Reader;
