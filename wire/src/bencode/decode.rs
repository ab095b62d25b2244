//! The decoder: one bounded validating pass, then slices.

use std::fmt;

/// How much a message may hold before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nested lists and dicts.
    pub depth_max: usize,
    /// Values of any kind, keys included.
    pub items_max: usize,
    /// Bytes of the whole message.
    pub bytes_max: usize,
}

impl Limits {
    /// For a KRPC datagram: 10 levels and 500 items, as libtorrent has it (dht_tracker.cpp).
    pub const KRPC: Limits = Limits { depth_max: 10, items_max: 500, bytes_max: 65_507 };

    /// For a metainfo file: 100 levels and 3 million items, as libtorrent has it
    /// (torrent_info.hpp); 64 MiB hold the piece hashes of 3 million pieces.
    pub const METAINFO: Limits =
        Limits { depth_max: 100, items_max: 3_000_000, bytes_max: 64 << 20 };

    /// For an extension message: a peer message of at most 128 KiB.
    pub const EXTENSION: Limits = Limits { depth_max: 10, items_max: 2_000, bytes_max: 128 << 10 };
}

/// Why bytes are not bencode that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes end inside a value.
    Truncated,
    /// A byte that cannot stand where it stands; its offset.
    Unexpected(usize),
    /// The length of a string that is no i64.
    Overflow,
    /// More levels, items or bytes than the limits allow.
    TooLarge,
    /// Bytes after the end of the value.
    Trailing,
}

impl Error {
    /// The same, found in what follows so many bytes.
    pub(super) fn after(self, bytes: usize) -> Error {
        match self {
            Error::Unexpected(at) => Error::Unexpected(bytes + at),
            error => error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated => f.write_str("bencode ends too early"),
            Error::Unexpected(at) => write!(f, "unexpected byte in bencode at offset {at}"),
            Error::Overflow => f.write_str("number in bencode is too large"),
            Error::TooLarge => f.write_str("bencode is nested too deep or too long"),
            Error::Trailing => f.write_str("bytes after the end of the bencode"),
        }
    }
}

impl std::error::Error for Error {}

/// One bencoded value, borrowed from a message that was checked as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(pub(super) &'a [u8]);

impl<'a> Value<'a> {
    /// Checks that `bytes` are exactly one value within `limits`.
    pub fn parse(bytes: &'a [u8], limits: Limits) -> Result<Value<'a>, Error> {
        let (value, rest) = Value::parse_prefix(bytes, limits)?;
        if rest.is_empty() { Ok(value) } else { Err(Error::Trailing) }
    }

    /// Checks the value at the start of `bytes`; returns it and what follows (BEP 9 appends
    /// payload to a dict).
    pub fn parse_prefix(bytes: &'a [u8], limits: Limits) -> Result<(Value<'a>, &'a [u8]), Error> {
        if bytes.len() > limits.bytes_max {
            return Err(Error::TooLarge);
        }
        let end = validate(bytes, limits.depth_max, &mut { limits.items_max })?;
        let (value, rest) = bytes.split_at(end);
        Ok((Value(value), rest))
    }

    /// The value's own bytes, as they stood in the message.
    pub fn raw(&self) -> &'a [u8] {
        self.0
    }

    /// The string, if it is one.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        string(self.0).ok().map(|(text, _)| text)
    }

    /// The string, if it is one of UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The integer, if it is one and within i64.
    pub fn as_int(&self) -> Option<i64> {
        match self.0 {
            [b'i', digits @ .., b'e'] => parse_int(digits),
            _ => None,
        }
    }

    /// The list's values in order, if it is a list.
    pub fn as_list(&self) -> Option<List<'a>> {
        match self.0 {
            [b'l', inside @ ..] => Some(List(inside)),
            _ => None,
        }
    }

    /// The dict's entries in the order of the message, if it is a dict.
    pub fn as_dict(&self) -> Option<Dict<'a>> {
        match self.0 {
            [b'd', inside @ ..] => Some(Dict(inside)),
            _ => None,
        }
    }

    /// The entry of a dict under `key`; of duplicates the first. `None` also if it is no dict.
    pub fn get(&self, key: &[u8]) -> Option<Value<'a>> {
        self.as_dict()?.find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Whether these bytes are what a canonical encoder writes: integers and lengths without
    /// leading zeros, keys sorted and unique (BEP 3).
    pub fn is_canonical(&self) -> bool {
        canonical(self.0)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.0[..self.0.len().min(200)];
        write!(f, "{}", String::from_utf8_lossy(head))
    }
}

/// The values of a list; none by default.
#[derive(Clone, Default)]
pub struct List<'a>(&'a [u8]);

impl<'a> List<'a> {
    /// The strings among the values.
    pub fn strings(mut self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            while !matches!(self.0, [b'0'..=b'9', ..]) {
                take(&mut self.0)?;
            }
            let (text, rest) = string(self.0).ok()?;
            self.0 = rest;
            Some(text)
        })
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        take(&mut self.0)
    }
}

/// The entries of a dict: key and value.
#[derive(Clone)]
pub struct Dict<'a>(&'a [u8]);

impl<'a> Iterator for Dict<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let key = take(&mut self.0)?.as_bytes()?;
        Some((key, take(&mut self.0)?))
    }
}

/// Splits the first value off bytes that were checked before; `None` at the closing `e`.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    let end = match bytes.first()? {
        b'e' => return None,
        b'0'..=b'9' => bytes.len() - string(bytes).ok()?.1.len(),
        _ => skip(bytes)?,
    };
    let (value, rest) = bytes.split_at(end);
    *bytes = rest;
    Some(Value(value))
}

/// The end of the value at the start of checked bytes.
fn skip(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let mut depth = 0usize;
    loop {
        rest = match rest {
            [b'd' | b'l', inside @ ..] => {
                depth += 1;
                inside
            }
            [b'e', after @ ..] => {
                depth = depth.checked_sub(1)?;
                after
            }
            [b'i', digits @ ..] => {
                let end = digits.iter().position(|&b| b == b'e')?;
                &digits[end + 1..]
            }
            _ => string(rest).ok()?.1,
        };
        if depth == 0 {
            return Some(bytes.len() - rest.len());
        }
    }
}

/// The string at the start of `bytes`, and what follows it.
#[inline]
pub(super) fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    // Nearly all are of less than a hundred bytes.
    let (len, text) = match bytes {
        [a @ b'0'..=b'9', b':', text @ ..] => (usize::from(a - b'0'), text),
        [a @ b'0'..=b'9', b @ b'0'..=b'9', b':', text @ ..] => {
            (usize::from(a - b'0') * 10 + usize::from(b - b'0'), text)
        }
        _ => return long_string(bytes),
    };
    text.split_at_checked(len).ok_or(Error::Truncated)
}

fn long_string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut len = 0usize;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b':' if at > 0 => {
                return bytes[at + 1..].split_at_checked(len).ok_or(Error::Truncated);
            }
            digit @ b'0'..=b'9' => {
                len = len
                    .checked_mul(10)
                    .and_then(|len| len.checked_add(usize::from(digit - b'0')))
                    .filter(|&len| len <= i64::MAX as usize)
                    .ok_or(Error::Overflow)?;
            }
            _ => return Err(Error::Unexpected(at)),
        }
    }
    Err(Error::Truncated)
}

/// An optional minus and at least one digit, within i64.
fn parse_int(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut out = 0i64;
    for digit in digits {
        let digit = i64::from(digit.checked_sub(b'0').filter(|&d| d <= 9)?);
        let shifted = out.checked_mul(10)?;
        out = if negative { shifted.checked_sub(digit)? } else { shifted.checked_add(digit)? };
    }
    Some(out)
}

/// What may stand next inside a container.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    List,
    Key,
    DictValue,
}

/// Checks one value at the start of `bytes` against so many levels and so many items, and takes
/// its items off these; returns its end. Open containers live in a fixed array, so no input makes
/// the stack grow.
pub(super) fn validate(
    bytes: &[u8],
    depth_max: usize,
    items_left: &mut usize,
) -> Result<usize, Error> {
    const DEPTH_CAP: usize = 128;
    let depth_max = depth_max.min(DEPTH_CAP);
    let mut open = [Inside::List; DEPTH_CAP];
    let mut depth = 0;
    let mut at = 0;
    loop {
        let byte = *bytes.get(at).ok_or(Error::Truncated)?;
        let inside = (depth > 0).then(|| open[depth - 1]);
        if byte == b'e' {
            match inside {
                Some(Inside::List | Inside::Key) => depth -= 1,
                _ => return Err(Error::Unexpected(at)),
            }
            at += 1;
        } else {
            *items_left = items_left.checked_sub(1).ok_or(Error::TooLarge)?;
            if let Some(state) = depth.checked_sub(1) {
                match open[state] {
                    Inside::Key if !byte.is_ascii_digit() => return Err(Error::Unexpected(at)),
                    Inside::Key => open[state] = Inside::DictValue,
                    Inside::DictValue => open[state] = Inside::Key,
                    Inside::List => {}
                }
            }
            match byte {
                b'd' | b'l' => {
                    if depth >= depth_max {
                        return Err(Error::TooLarge);
                    }
                    open[depth] = if byte == b'd' { Inside::Key } else { Inside::List };
                    depth += 1;
                    at += 1;
                }
                b'i' => at = int_end(bytes, at)?,
                b'0'..=b'9' => {
                    let (_, rest) = string(&bytes[at..]).map_err(|error| error.after(at))?;
                    at = bytes.len() - rest.len();
                }
                _ => return Err(Error::Unexpected(at)),
            }
        }
        if depth == 0 {
            return Ok(at);
        }
    }
}

/// The end of the integer whose `i` stands at `at`: an optional minus and any number of digits, as
/// BEP 3 sets no bound.
pub(super) fn int_end(bytes: &[u8], at: usize) -> Result<usize, Error> {
    let first = at + 1 + usize::from(bytes.get(at + 1) == Some(&b'-'));
    let rest = bytes.get(first..).unwrap_or_default();
    let len = rest.iter().position(|b| !b.is_ascii_digit()).ok_or(Error::Truncated)?;
    match rest[len] {
        b'e' if len > 0 => Ok(first + len + 1),
        _ => Err(Error::Unexpected(first + len)),
    }
}

/// A container that [`canonical`] has entered.
enum Open<'a> {
    List,
    Dict { last_key: Option<&'a [u8]>, wants_key: bool },
}

/// Walks checked bytes and looks for anything a canonical encoder would not write.
fn canonical(bytes: &[u8]) -> bool {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'e' {
            open.pop();
            at += 1;
            continue;
        }
        let mut text = None;
        match byte {
            b'd' | b'l' => at += 1,
            b'i' => {
                let Some(len) = bytes[at..].iter().position(|&b| b == b'e') else { return false };
                if matches!(&bytes[at + 1..at + len], [b'-', b'0', ..] | [b'0', _, ..]) {
                    return false;
                }
                at += len + 1;
            }
            _ => {
                let Ok((string, rest)) = string(&bytes[at..]) else { return false };
                let end = bytes.len() - rest.len();
                if byte == b'0' && end - string.len() - at > 2 {
                    return false;
                }
                text = Some(string);
                at = end;
            }
        }
        if let Some(Open::Dict { last_key, wants_key }) = open.last_mut() {
            if *wants_key {
                if *last_key >= text {
                    return false;
                }
                *last_key = text;
            }
            *wants_key = !*wants_key;
        }
        match byte {
            b'd' => open.push(Open::Dict { last_key: None, wants_key: true }),
            b'l' => open.push(Open::List),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Value<'_>, Error> {
        Value::parse(bytes, Limits::KRPC)
    }

    #[test]
    fn reads_what_bep_3_shows() {
        assert_eq!(parse(b"4:spam").unwrap().as_bytes(), Some(&b"spam"[..]));
        assert_eq!(parse(b"i-3e").unwrap().as_int(), Some(-3));
        let list = parse(b"l4:spam4:eggse").unwrap();
        let items: Vec<_> = list.as_list().unwrap().filter_map(|v| v.as_str()).collect();
        assert_eq!(items, ["spam", "eggs"]);
        let mixed = parse(b"li1e1:ad1:b1:cel1:deli2ee2:efi3ee").unwrap().as_list().unwrap();
        assert_eq!(mixed.strings().collect::<Vec<_>>(), [b"a", &b"ef"[..]]);
        let dict = parse(b"d3:cow3:moo4:spaml1:a1:bee").unwrap();
        assert_eq!(dict.get(b"cow").unwrap().as_bytes(), Some(&b"moo"[..]));
        assert_eq!(dict.get(b"spam").unwrap().raw(), b"l1:a1:be");
        assert_eq!(dict.get(b"none"), None);
        assert_eq!(parse(b"0:").unwrap().as_bytes(), Some(&b""[..]));
        assert_eq!(parse(b"de").unwrap().as_dict().unwrap().count(), 0);
    }

    #[test]
    fn refuses_what_is_no_bencode() {
        for (bytes, error) in [
            (&b""[..], Error::Truncated),
            (b"d", Error::Truncated),
            (b"4:spa", Error::Truncated),
            (b"i12", Error::Truncated),
            (b"i-", Error::Truncated),
            (b"ie", Error::Unexpected(1)),
            (b"i-e", Error::Unexpected(2)),
            (b"i--1e", Error::Unexpected(2)),
            (b"i1", Error::Truncated),
            (b"i1-e", Error::Unexpected(2)),
            (b"i+5e", Error::Unexpected(1)),
            (b"-1:a", Error::Unexpected(0)),
            (b":", Error::Unexpected(0)),
            (b"e", Error::Unexpected(0)),
            (b"d1:ae", Error::Unexpected(4)),
            (b"di1ei2ee", Error::Unexpected(1)),
            (b"99999999999:a", Error::Truncated),
            (b"99999999999999999999999999:a", Error::Overflow),
            (b"1:ax", Error::Trailing),
        ] {
            assert_eq!(parse(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(parse(b"i-9223372036854775808e").unwrap().as_int(), Some(i64::MIN));
        for beyond in [&b"i9223372036854775808e"[..], b"i-99999999999999999999999999999999e"] {
            assert_eq!(parse(beyond).unwrap().as_int(), None);
        }
    }

    #[test]
    fn depth_items_and_bytes_are_bounded() {
        let nested = |n: usize| [vec![b'l'; n], vec![b'e'; n]].concat();
        assert!(parse(&nested(10)).is_ok());
        assert_eq!(parse(&nested(11)), Err(Error::TooLarge));
        assert_eq!(
            Value::parse(&nested(1_000_000), Limits { depth_max: 1 << 30, ..Limits::METAINFO }),
            Err(Error::TooLarge)
        );
        let wide = |n: usize| [&b"l"[..], &b"0:".repeat(n), b"e"].concat();
        assert!(parse(&wide(499)).is_ok());
        assert_eq!(parse(&wide(500)), Err(Error::TooLarge));
        let small = Limits { bytes_max: 3, ..Limits::KRPC };
        assert_eq!(Value::parse(b"2:abc", small), Err(Error::TooLarge));
    }

    #[test]
    fn tells_canonical_from_lenient() {
        for bytes in [&b"de"[..], b"d0:i0e1:a0:e", b"l2:zz1:ae", b"i-5e", b"d1:ad1:z0:e1:b0:e"] {
            assert!(parse(bytes).unwrap().is_canonical(), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in
            [&b"i007e"[..], b"i-0e", b"03:abc", b"d1:b0:1:a0:e", b"d1:a0:1:a0:e", b"li00ee"]
        {
            assert!(!parse(bytes).unwrap().is_canonical(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_prefix_leaves_the_rest() {
        let (value, rest) = Value::parse_prefix(b"d1:ai1eePAYLOAD", Limits::EXTENSION).unwrap();
        assert_eq!(value.get(b"a").unwrap().as_int(), Some(1));
        assert_eq!(rest, b"PAYLOAD");
    }
}
