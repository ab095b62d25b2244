//! Messages as an input describes them: well-formed by the table of methods, and then harmed.

use std::net::SocketAddr;

use wire::bencode::Encoder;
use wire::krpc::{self, Head, Query};
use wire::{Id, NodeId, compact};

use crate::input::Input;
use crate::items::SAMPLES;
use crate::places;

/// What a field holds when nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The id of the sender.
    Id,
    /// One of a few keys.
    Key,
    /// What the receiver gave as a token, or something like it.
    Token,
    Want,
    Int,
    /// Compact nodes of v4, of v6.
    Nodes,
    Nodes6,
    /// A list of compact peers.
    Peers,
    /// A string of so many bytes.
    Text(usize),
    /// A string of any length up to 255 bytes.
    AnyText,
    /// A small value of any kind.
    Any,
}

use Shape::{Any, AnyText, Id as SenderId, Int, Key, Nodes, Nodes6, Peers, Text, Token, Want};

/// A field: its key and what it holds.
type Field = (&'static str, Shape);

/// A method: what is asked and what is answered. A new one is a new row.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    args: &'static [Field],
    reply: &'static [Field],
}

/// All methods, and one that no node knows. Fields stand in the order of their keys.
pub(crate) const METHODS: [Method; 9] = [
    Method { name: "ping", args: &[("id", SenderId)], reply: &[("id", SenderId)] },
    Method {
        name: "find_node",
        args: &[("id", SenderId), ("target", Key), ("want", Want)],
        reply: &[("id", SenderId), ("nodes", Nodes), ("nodes6", Nodes6)],
    },
    Method {
        name: "get_peers",
        args: &[("id", SenderId), ("info_hash", Key), ("want", Want)],
        reply: &[
            ("id", SenderId),
            ("nodes", Nodes),
            ("nodes6", Nodes6),
            ("token", AnyText),
            ("values", Peers),
        ],
    },
    Method {
        name: "get_peers",
        args: &[
            ("id", SenderId),
            ("info_hash", Key),
            ("noseed", Int),
            ("scrape", Int),
            ("want", Want),
        ],
        reply: &[
            ("BFpe", Text(256)),
            ("BFsd", Text(256)),
            ("id", SenderId),
            ("nodes", Nodes),
            ("token", AnyText),
            ("values", Peers),
        ],
    },
    Method {
        name: "announce_peer",
        args: &[
            ("id", SenderId),
            ("implied_port", Int),
            ("info_hash", Key),
            ("port", Int),
            ("seed", Int),
            ("token", Token),
        ],
        reply: &[("id", SenderId)],
    },
    Method {
        name: "get",
        args: &[("id", SenderId), ("seq", Int), ("target", Key), ("want", Want)],
        reply: &[
            ("id", SenderId),
            ("k", Text(32)),
            ("nodes", Nodes),
            ("nodes6", Nodes6),
            ("seq", Int),
            ("sig", Text(64)),
            ("token", AnyText),
            ("v", Any),
        ],
    },
    Method {
        name: "put",
        args: &[
            ("cas", Int),
            ("id", SenderId),
            ("k", Text(32)),
            ("salt", AnyText),
            ("seq", Int),
            ("sig", Text(64)),
            ("token", Token),
            ("v", Any),
        ],
        reply: &[("id", SenderId)],
    },
    Method {
        name: "sample_infohashes",
        args: &[("id", SenderId), ("target", Key), ("want", Want)],
        reply: &[
            ("id", SenderId),
            ("interval", Int),
            ("nodes", Nodes),
            ("nodes6", Nodes6),
            ("num", Int),
            ("samples", Text(160)),
        ],
    },
    Method {
        name: "vote",
        args: &[("id", SenderId), ("target", Key), ("vote", Int)],
        reply: &[("id", SenderId)],
    },
];

/// Who speaks to whom, for the fields that depend on it.
pub(crate) struct Speaker<'a> {
    pub(crate) from: SocketAddr,
    /// The id of the node that is spoken to.
    pub(crate) to: NodeId,
    /// Tokens that it gave, and for what, latest first.
    pub(crate) tokens: &'a [(Id, Vec<u8>)],
}

/// A query with a transaction id and arguments from the input.
pub(crate) fn query(input: &mut Input<'_>, speaker: &Speaker<'_>) -> Vec<u8> {
    let method = &METHODS[input.below(METHODS.len())];
    let (args, harm) = (fields(input, speaker, method.args), input.byte());
    let tid: Vec<u8> = match input.byte() {
        len @ 0..0xc0 => vec![b'a' + (len & 0xf); usize::from(len) / 3 + 1],
        len => vec![len; usize::from(len - 0xc0) * 2],
    };
    let read_only = harm & 7 == 1;
    let mut out = Vec::new();
    Encoder::new(&mut out).dict(|d| {
        d.key(b"a").raw(&args);
        d.key(b"q").bytes(method.name.as_bytes());
        if read_only {
            d.key(b"ro").int(1);
        }
        d.key(b"t").bytes(&tid);
        d.key(b"y").bytes(b"q");
    });
    spoil(input, harm, &mut out);
    out
}

/// A query with nothing wrong.
pub(crate) fn written(id: NodeId, method: krpc::Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Query { id, method }.encode(&Head { tid: b"tt", ..Head::default() }, &mut out);
    out
}

/// A query that puts one of the items, with the token for it if there is one.
pub(crate) fn put(input: &mut Input<'_>, speaker: &Speaker<'_>) -> Vec<u8> {
    let (sample, harm) = (&SAMPLES[input.below(SAMPLES.len())], input.byte());
    let cas = (harm & 3 == 3).then_some(i64::from(harm >> 4));
    let token = speaker.tokens.iter().find(|(target, _)| *target == sample.target);
    let token = token.map_or(&b"no token"[..], |(_, token)| token);
    let put = sample.put(token, cas).map(krpc::Method::Put);
    let mut out = put.map_or(Vec::new(), |put| written(places::id_at(speaker.from), put));
    spoil(input, harm, &mut out);
    out
}

/// A reply to a query of that method. Methods that are asked by one name have one row or another.
pub(crate) fn reply(
    input: &mut Input<'_>,
    speaker: &Speaker<'_>,
    method: &[u8],
    tid: &[u8],
    seen: SocketAddr,
) -> Vec<u8> {
    if method == b"get" && input.byte() & 1 == 0 {
        return item(input, speaker, tid);
    }
    let rows: Vec<_> = METHODS.iter().filter(|row| row.name.as_bytes() == method).collect();
    let row = input.pick(&rows).unwrap_or(&METHODS[0]);
    let (body, harm) = (fields(input, speaker, row.reply), input.byte());
    let mut ip = Vec::new();
    compact::put_addr(&mut ip, &seen);
    let mut out = Vec::new();
    Encoder::new(&mut out).dict(|d| {
        if harm & 1 == 0 {
            d.key(b"ip").bytes(&ip);
        }
        d.key(b"r").raw(&body);
        d.key(b"t").bytes(tid);
        d.key(b"y").bytes(b"r");
    });
    spoil(input, harm, &mut out);
    out
}

/// An answer to `get` with one of the items.
fn item(input: &mut Input<'_>, speaker: &Speaker<'_>, tid: &[u8]) -> Vec<u8> {
    let (sample, nodes) = (&SAMPLES[input.below(SAMPLES.len())], nodes(input, true));
    let (id, item) = (places::id_at(speaker.from), sample.reply());
    let (nodes, token) = (Some(&nodes[..]), Some(&b"token"[..]));
    let mut out = Vec::new();
    krpc::Reply { id, nodes, token, item, ..krpc::Reply::default() }
        .encode(&Head { tid, ..Head::default() }, &mut out);
    let harm = input.byte();
    spoil(input, harm, &mut out);
    out
}

/// A refusal.
pub(crate) fn error(input: &mut Input<'_>, tid: &[u8]) -> Vec<u8> {
    let (code, text, harm) = (200 + i64::from(input.byte()), input.bytes(), input.byte());
    let mut out = Vec::new();
    Encoder::new(&mut out).dict(|d| {
        d.key(b"e").list(|l| {
            l.int(code);
            l.bytes(text);
        });
        d.key(b"t").bytes(tid);
        d.key(b"y").bytes(b"e");
    });
    spoil(input, harm, &mut out);
    out
}

/// One in eight messages has bytes changed, cut off or added.
fn spoil(input: &mut Input<'_>, harm: u8, out: &mut Vec<u8>) {
    if harm < 0xe0 || out.is_empty() {
        return;
    }
    let at = usize::from(input.number()) % out.len();
    match harm & 3 {
        0 => out[at] = input.byte(),
        1 => out.truncate(at),
        2 => out.extend_from_slice(input.bytes()),
        _ => {
            let tail = out.split_off(at);
            out.extend_from_slice(input.bytes());
            out.extend_from_slice(&tail);
        }
    }
}

/// A dict of these fields, one of which may be harmed.
fn fields(input: &mut Input<'_>, speaker: &Speaker<'_>, row: &[Field]) -> Vec<u8> {
    let harm = input.byte();
    let harmed = (harm >= 0xa0).then(|| usize::from(harm) % row.len().max(1));
    let mut out = vec![b'd'];
    for (at, &(key, shape)) in row.iter().enumerate() {
        let value = value(input, speaker, shape);
        let kind = if harmed == Some(at) { input.byte() % 6 } else { u8::MAX };
        if kind == 0 {
            continue;
        }
        Encoder::new(&mut out).bytes(key.as_bytes());
        match kind {
            1 => put_any(input, &mut out),
            2 => Encoder::new(&mut out).bytes(input.bytes()),
            3 => Encoder::new(&mut out).int(i64::from(input.byte()) - 2),
            4 => out.extend_from_slice(b"i9223372036854775807e"),
            5 => {
                out.extend_from_slice(&value);
                Encoder::new(&mut out).bytes(key.as_bytes());
                put_any(input, &mut out);
            }
            _ => out.extend_from_slice(&value),
        }
    }
    out.push(b'e');
    out
}

fn value(input: &mut Input<'_>, speaker: &Speaker<'_>, shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    match shape {
        SenderId => {
            let id = match input.byte() {
                0xff => speaker.to,
                0xfe => Id::ZERO,
                0xfd => Id([7; 20]),
                _ => places::id_at(speaker.from),
            };
            Encoder::new(&mut out).bytes(id.as_bytes());
        }
        Key => {
            let key = places::key(input.byte(), &speaker.to);
            Encoder::new(&mut out).bytes(key.as_bytes());
        }
        Token => {
            let given = usize::from(input.byte());
            let token = speaker.tokens.get(given).map_or(&b"no token"[..], |(_, token)| token);
            Encoder::new(&mut out).bytes(token);
        }
        Want => out.extend_from_slice(match input.byte() & 3 {
            0 => b"le",
            1 => b"l2:n4e",
            2 => b"l2:n6e",
            _ => b"l2:n42:n6e",
        }),
        Int => Encoder::new(&mut out).int(i64::from(input.number()) - 2),
        Nodes | Nodes6 => Encoder::new(&mut out).bytes(&nodes(input, shape == Nodes)),
        Peers => Encoder::new(&mut out).list(|l| {
            for _ in 0..input.byte() % 24 {
                let mut peer = Vec::new();
                compact::put_addr(&mut peer, &places::address(input.byte()));
                l.bytes(&peer);
            }
        }),
        Text(len) => Encoder::new(&mut out).bytes(&vec![input.byte(); len]),
        AnyText => Encoder::new(&mut out).bytes(input.bytes()),
        Any => put_any(input, &mut out),
    }
    out
}

/// Compact nodes whose addresses follow each other.
fn nodes(input: &mut Input<'_>, v4: bool) -> Vec<u8> {
    let (count, first) = (input.byte() % 40, input.byte());
    let mut out = Vec::new();
    for addr in (0..count).map(|n| places::address(first.wrapping_add(n))) {
        if addr.is_ipv4() == v4 {
            compact::put_node(&mut out, &places::id_at(addr), &addr);
        }
    }
    out
}

fn put_any(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let kind = input.byte();
    let depth = usize::from(kind) / 8;
    match kind & 7 {
        0 => Encoder::new(out).int(-i64::from(input.number())),
        1 => Encoder::new(out).list(|l| l.bytes(input.bytes())),
        2 => Encoder::new(out).dict(|d| d.key(b"x").bytes(input.bytes())),
        3 => out.extend_from_slice(&[b"l".repeat(depth), b"e".repeat(depth)].concat()),
        4 => out.extend_from_slice(&[&b"l"[..], &b"0:".repeat(depth * 20), b"e"].concat()),
        _ => Encoder::new(out).bytes(input.bytes()),
    }
    // Nothing of depth 0 is a value.
    if kind & 7 == 3 && depth == 0 {
        out.extend_from_slice(b"le");
    }
}
