//! Bencode (BEP 3, "bencoding"): a bounded, borrowed decoder and a canonical encoder.
//!
//! The decoder checks a whole message once, without recursion, against [`Limits`]; after that a
//! [`Value`] is a slice of it, and looking inside costs a scan and no allocation. It is lenient in
//! what it takes (key order, leading zeros), and the encoder is strict in what it writes.

mod decode;
mod encode;

pub use decode::{Dict, Error, Limits, List, Value};
pub use encode::Encoder;
