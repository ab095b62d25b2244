//! Bencode as a whole: what can be built reads back, and serde_bencode agrees wherever it is
//! as strict as we are.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_bencode::value::Value as Theirs;
use wire::bencode::{Encoder, Error, Limits, Value};

/// Any bencode that there is.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dict(BTreeMap<Vec<u8>, Tree>),
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Tree::Int),
        (-20i64..20).prop_map(Tree::Int),
        vec(any::<u8>(), 0..20).prop_map(Tree::Bytes),
    ];
    leaf.prop_recursive(8, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Tree::List),
            btree_map(vec(any::<u8>(), 0..6), inner, 0..6).prop_map(Tree::Dict),
        ]
    })
}

fn write(tree: &Tree, out: &mut Encoder<'_>) {
    match tree {
        Tree::Int(number) => out.int(*number),
        Tree::Bytes(bytes) => out.bytes(bytes),
        Tree::List(list) => out.list(|out| list.iter().for_each(|inner| write(inner, out))),
        Tree::Dict(dict) => out.dict(|out| {
            for (key, inner) in dict {
                write(inner, out.key(key));
            }
        }),
    }
}

fn written(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    write(tree, &mut Encoder::new(&mut out));
    out
}

/// All that can be asked of a value; None where its parts contradict each other. Of duplicate keys
/// the first counts.
fn read(value: Value<'_>) -> Option<Tree> {
    if let Some(number) = value.as_int() {
        return Some(Tree::Int(number));
    }
    if let Some(bytes) = value.as_bytes() {
        return Some(Tree::Bytes(bytes.to_vec()));
    }
    if let Some(list) = value.as_list() {
        return list.map(read).collect::<Option<_>>().map(Tree::List);
    }
    let mut dict = BTreeMap::new();
    for (key, inner) in value.as_dict()? {
        let inner = read(inner)?;
        dict.entry(key.to_vec()).or_insert(inner);
    }
    Some(Tree::Dict(dict))
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

fn parse(bytes: &[u8]) -> Result<Value<'_>, Error> {
    Value::parse(bytes, Limits::METAINFO)
}

/// Bytes that look like bencode, and often are.
fn any_bencodish() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"d".to_vec()),
        Just(b"l".to_vec()),
        Just(b"e".to_vec()),
        Just(b"i0e".to_vec()),
        Just(b"i-7e".to_vec()),
        Just(b"i007e".to_vec()),
        Just(b"1:a".to_vec()),
        Just(b"1:b".to_vec()),
        Just(b"02:zz".to_vec()),
        Just(b"0:".to_vec()),
        vec(prop::sample::select(&b"ilde0123456789:-+x"[..]), 1..3),
    ];
    prop_oneof![
        vec(token.clone(), 0..14).prop_map(|tokens| tokens.concat()),
        // Closed at the end, so that more of them are whole.
        (vec(token, 0..8), 0usize..4).prop_map(|(tokens, depth)| {
            [b"l".repeat(depth), tokens.concat(), b"e".repeat(depth)].concat()
        }),
    ]
}

/// A tree spelled with zeros that nobody needs, and with the keys of its dicts in any order.
fn sloppy(tree: &Tree, zeros: &mut impl Iterator<Item = usize>, out: &mut Vec<u8>) {
    let pad = |n: Option<usize>| "0".repeat(n.unwrap_or(0));
    match tree {
        Tree::Int(number) => {
            let (sign, digits) = (if *number < 0 { "-" } else { "" }, number.unsigned_abs());
            // At most 22 characters of number are read.
            let zeros = pad(zeros.next().filter(|_| digits < 1_000_000));
            out.extend_from_slice(format!("i{sign}{zeros}{digits}e").as_bytes());
        }
        Tree::Bytes(bytes) => {
            out.extend_from_slice(format!("{}{}:", pad(zeros.next()), bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
        }
        Tree::List(list) => {
            out.push(b'l');
            list.iter().for_each(|inner| sloppy(inner, zeros, out));
            out.push(b'e');
        }
        Tree::Dict(dict) => {
            out.push(b'd');
            let mut entries: Vec<_> = dict.iter().collect();
            if zeros.next().is_some_and(|n| n > 0) {
                entries.reverse();
            }
            for (key, inner) in entries {
                sloppy(&Tree::Bytes(key.clone()), zeros, out);
                sloppy(inner, zeros, out);
            }
            out.push(b'e');
        }
    }
}

proptest! {
    #[test]
    fn what_is_built_reads_back_and_is_canonical(tree in any_tree()) {
        let bytes = written(&tree);
        let value = parse(&bytes).unwrap();
        prop_assert!(value.is_canonical());
        prop_assert_eq!(value.raw(), &bytes[..]);
        prop_assert_eq!(read(value), Some(tree));
    }

    #[test]
    fn serde_bencode_writes_and_reads_the_same(tree in any_tree()) {
        let bytes = written(&tree);
        let theirs: Theirs = serde_bencode::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&serde_bencode::to_bytes(&theirs).unwrap(), &bytes);
        prop_assert_eq!(from_serde(theirs), tree);
    }

    #[test]
    fn a_value_cut_short_anywhere_is_told_as_cut_short(tree in any_tree(), at: prop::sample::Index) {
        let bytes = written(&tree);
        let cut = at.index(bytes.len());
        prop_assert_eq!(parse(&bytes[..cut]), Err(Error::Truncated));
    }

    #[test]
    fn a_value_with_anything_behind_it_is_a_prefix(tree in any_tree(), tail in vec(any::<u8>(), 1..9)) {
        let bytes = written(&tree);
        let longer = [&bytes[..], &tail].concat();
        prop_assert_eq!(parse(&longer), Err(Error::Trailing));
        let (value, rest) = Value::parse_prefix(&longer, Limits::METAINFO).unwrap();
        prop_assert_eq!((value.raw(), rest), (&bytes[..], &tail[..]));
    }

    #[test]
    fn sloppy_spellings_read_the_same_and_are_told_from_canonical(
        tree in any_tree(),
        zeros in vec(0usize..3, 1..12),
    ) {
        let mut bytes = Vec::new();
        sloppy(&tree, &mut zeros.into_iter().cycle(), &mut bytes);
        let value = parse(&bytes).unwrap();
        prop_assert_eq!(value.is_canonical(), bytes == written(&tree));
        prop_assert_eq!(read(value), Some(tree));
    }

    #[test]
    fn what_is_accepted_is_canonical_exactly_if_it_is_re_encoded_as_it_stood(
        bytes in any_bencodish(),
    ) {
        let Ok(value) = parse(&bytes) else { return Ok(()) };
        let tree = read(value).unwrap();
        prop_assert_eq!(value.is_canonical(), written(&tree) == bytes);
    }

    #[test]
    fn serde_bencode_accepts_what_we_accept(bytes in any_bencodish()) {
        // It takes more than we do (signs, bytes behind the end), never less.
        let Ok(value) = parse(&bytes) else { return Ok(()) };
        let theirs: Theirs = serde_bencode::from_bytes(&bytes).unwrap();
        if value.is_canonical() {
            prop_assert_eq!(read(value), Some(from_serde(theirs)));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok((value, rest)) = Value::parse_prefix(&bytes, Limits::KRPC) {
            prop_assert_eq!(value.raw().len() + rest.len(), bytes.len());
            prop_assert!(read(value).is_some());
        }
    }
}

#[test]
fn nesting_beyond_any_stack_is_refused() {
    for depth in [101usize, 14_000, 10_000_000] {
        for open in [&b"l"[..], b"d1:a", b"lld1:a"] {
            let bytes = open.repeat(depth);
            assert_eq!(parse(&bytes), Err(Error::TooLarge), "{depth} times {open:?}");
        }
    }
}

#[test]
fn a_length_beyond_the_message_is_never_believed() {
    let longest = i64::MAX.to_string();
    for length in ["2", "4096", "65507", "4294967296", &longest] {
        for text in [format!("{length}:a"), format!("l{length}:ae"), format!("d{length}:ai1ee")] {
            let error = parse(text.as_bytes());
            assert!(
                matches!(error, Err(Error::Truncated | Error::Unexpected(_))),
                "{text}: {error:?}"
            );
        }
    }
    let too_large = "9223372036854775808:a";
    assert_eq!(parse(too_large.as_bytes()), Err(Error::Overflow));
}
