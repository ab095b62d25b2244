//! The decoder against the one-pass reader, against its own encoder and against serde_bencode.

use std::collections::BTreeMap;

use serde_bencode::value::Value as Theirs;
use wire::bencode::{Encoder, Error, Limits, Reader, Value};

const TINY: Limits = Limits { depth_max: 3, items_max: 12, bytes_max: 200 };

/// One input.
pub fn run(bytes: &[u8]) {
    for limits in [Limits::KRPC, Limits::METAINFO, TINY] {
        let whole = Value::parse(bytes, limits);
        for levels in 0..4 {
            let read = read_through(bytes, limits, levels);
            assert_eq!(read, whole.map(drop), "{levels} levels by keys");
        }
        match Value::parse_prefix(bytes, limits) {
            Ok((value, rest)) => {
                assert_eq!([value.raw(), rest].concat(), bytes);
                assert_eq!(Value::parse(value.raw(), limits), Ok(value));
                assert_eq!(whole, if rest.is_empty() { Ok(value) } else { Err(Error::Trailing) });
                accepted(value, limits);
            }
            Err(error) => assert_eq!(whole, Err(error)),
        }
    }
}

/// Reads dicts by their keys down to so many levels, and all else as values.
fn read_through(bytes: &[u8], limits: Limits, levels: usize) -> Result<(), Error> {
    fn inside(reader: &mut Reader<'_>, levels: usize) -> Result<(), Error> {
        if levels > 0 && reader.enter_dict()? {
            while reader.key()?.is_some() {
                inside(reader, levels - 1)?;
            }
            return Ok(());
        }
        let start = reader.position();
        let value = reader.value()?;
        assert_eq!(reader.since(start), value);
        Ok(())
    }
    let mut reader = Reader::new(bytes, limits)?;
    inside(&mut reader, levels)?;
    reader.finish()
}

fn accepted(value: Value<'_>, limits: Limits) {
    let mut seen = Seen::default();
    let tree = read(value, limits.depth_max, &mut seen);
    assert!(seen.items <= limits.items_max && value.raw().len() <= limits.bytes_max);
    let mut written = Vec::new();
    write(&tree, &mut Encoder::new(&mut written));
    assert_eq!(value.is_canonical(), written == value.raw());
    let again = Value::parse(&written, limits).expect("what we wrote");
    assert!(again.is_canonical());
    assert_eq!(read(again, limits.depth_max, &mut Seen::default()), tree);
    // It takes more than we do (signs, bytes behind the end), and less only of numbers.
    if seen.longs > 0 {
        return;
    }
    let theirs: Theirs = serde_bencode::from_bytes(value.raw()).expect("serde_bencode reads it");
    if value.is_canonical() {
        assert_eq!(serde_bencode::to_bytes(&theirs).expect("and writes it"), value.raw());
        assert_eq!(tree, from_serde(theirs));
    }
}

#[derive(Debug, PartialEq)]
enum Tree {
    Int(i64),
    /// An integer beyond i64, as it is written without leading zeros.
    Long(Vec<u8>),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dict(BTreeMap<Vec<u8>, Tree>),
}

/// What was read, duplicates included.
#[derive(Default)]
struct Seen {
    items: usize,
    longs: usize,
}

/// The integer that these bytes are, if it has no place in i64.
fn long(raw: &[u8]) -> Option<Tree> {
    let number = std::str::from_utf8(raw).ok()?.strip_prefix('i')?.strip_suffix('e')?;
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    assert!(number.parse::<i64>().is_err(), "{number} fits");
    Some(Tree::Long(format!("i{sign}{}e", digits.trim_start_matches('0')).into_bytes()))
}

/// All that can be asked of a checked value; it is of one kind only.
fn read(value: Value<'_>, depth_left: usize, seen: &mut Seen) -> Tree {
    seen.items += 1;
    let kinds = [
        value.raw().starts_with(b"i"),
        value.as_bytes().is_some(),
        value.as_list().is_some(),
        value.as_dict().is_some(),
    ];
    assert_eq!(kinds.iter().filter(|is| **is).count(), 1, "{value:?}");
    if let Some(number) = value.as_int().map(Tree::Int).or_else(|| long(value.raw())) {
        seen.longs += usize::from(matches!(number, Tree::Long(_)));
        return number;
    }
    if let Some(bytes) = value.as_bytes() {
        return Tree::Bytes(bytes.to_vec());
    }
    let depth_left = depth_left.checked_sub(1).expect("within the limit of depth");
    if let Some(list) = value.as_list() {
        return Tree::List(list.map(|inner| read(inner, depth_left, seen)).collect());
    }
    let mut dict = BTreeMap::new();
    for (key, inner) in value.as_dict().into_iter().flatten() {
        seen.items += 1;
        let inner = read(inner, depth_left, seen);
        dict.entry(key.to_vec()).or_insert(inner);
    }
    Tree::Dict(dict)
}

fn write(tree: &Tree, out: &mut Encoder<'_>) {
    match tree {
        Tree::Int(number) => out.int(*number),
        Tree::Long(raw) => out.raw(raw),
        Tree::Bytes(bytes) => out.bytes(bytes),
        Tree::List(list) => out.list(|out| list.iter().for_each(|inner| write(inner, out))),
        Tree::Dict(dict) => out.dict(|out| {
            for (key, inner) in dict {
                write(inner, out.key(key));
            }
        }),
    }
}

fn from_serde(value: Theirs) -> Tree {
    match value {
        Theirs::Int(number) => Tree::Int(number),
        Theirs::Bytes(bytes) => Tree::Bytes(bytes),
        Theirs::List(list) => Tree::List(list.into_iter().map(from_serde).collect()),
        Theirs::Dict(dict) => {
            Tree::Dict(dict.into_iter().map(|(key, inner)| (key, from_serde(inner))).collect())
        }
    }
}
