//! Replies (BEP 5, "DHT Queries"; BEP 32 for `nodes6`; BEP 33, 44 and 51).

use std::net::SocketAddr;

use super::message::Head;
use super::put_string;
use crate::bencode::{self, Encoder, Reader, Value};
use crate::compact::{self, Family};
use crate::id::{Id, InfoHash, NodeId};
use crate::scrape::FILTER_LEN;

/// The dict of a reply: the values that any method's reply may have, as they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyBody<'a> {
    raw: Value<'a>,
    id: Option<Value<'a>>,
    nodes: Option<Value<'a>>,
    nodes6: Option<Value<'a>>,
    token: Option<Value<'a>>,
    values: Option<Value<'a>>,
}

impl<'a> ReplyBody<'a> {
    /// Reads the value of `r`; `None` if it is no dict.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Option<ReplyBody<'a>>, bencode::Error> {
        let start = reader.position();
        if !reader.enter_dict()? {
            return reader.value().map(|_| None);
        }
        let (mut id, mut nodes, mut nodes6, mut token, mut values) = (None, None, None, None, None);
        while let Some(key) = reader.key()? {
            let value = reader.value()?;
            let slot = match key {
                b"id" => &mut id,
                b"nodes" => &mut nodes,
                b"nodes6" => &mut nodes6,
                b"token" => &mut token,
                b"values" => &mut values,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let raw = reader.since(start);
        Ok(Some(ReplyBody { raw, id, nodes, nodes6, token, values }))
    }

    /// The dict as it stood in the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw.raw()
    }

    /// The answering node, if the id is valid.
    pub fn id(&self) -> Option<NodeId> {
        Id::from_slice(self.id?.as_bytes()?)
    }
}

/// The answer to `ping` and `announce_peer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PingReply {
    /// The answering node.
    pub id: NodeId,
}

impl PingReply {
    /// Reads the dict of a reply; `None` without a valid id.
    pub fn parse(body: &ReplyBody<'_>) -> Option<PingReply> {
        Some(PingReply { id: body.id()? })
    }
}

/// The answer to `find_node`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FindNodeReply<'a> {
    /// The answering node.
    pub id: NodeId,
    /// Compact v4 node infos of a whole length; empty if missing or malformed.
    pub nodes: &'a [u8],
    /// Compact v6 node infos of a whole length; empty if missing or malformed.
    pub nodes6: &'a [u8],
}

/// The answer to `get_peers`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetPeersReply<'a> {
    /// Id and nodes, as `find_node` has them.
    pub found: FindNodeReply<'a>,
    /// What an announce to this node must show.
    pub token: Option<&'a [u8]>,
    values: Option<Value<'a>>,
}

impl<'a> FindNodeReply<'a> {
    /// Reads the dict of a reply; `None` without a valid id.
    pub fn parse(body: &ReplyBody<'a>) -> Option<FindNodeReply<'a>> {
        GetPeersReply::parse(body).map(|reply| reply.found)
    }

    /// The nodes of both families, as they stand.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> + use<'a> {
        let v4 = self.nodes.chunks_exact(Family::V4.node_len());
        let v6 = self.nodes6.chunks_exact(Family::V6.node_len());
        v4.chain(v6).filter_map(compact::node)
    }
}

impl<'a> GetPeersReply<'a> {
    /// Reads the dict of a reply; `None` without a valid id.
    pub fn parse(body: &ReplyBody<'a>) -> Option<GetPeersReply<'a>> {
        Some(GetPeersReply {
            found: FindNodeReply {
                id: body.id()?,
                nodes: whole(body.nodes, Family::V4),
                nodes6: whole(body.nodes6, Family::V6),
            },
            token: body.token.and_then(|v| v.as_bytes()),
            values: body.values,
        })
    }

    /// The peers: every value of 6 or 18 bytes, of both families mixed (BEP 32, "values").
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let values = self.values.and_then(|v| v.as_list()).unwrap_or_default();
        values.strings().filter_map(compact::addr)
    }
}

/// What a node with the torrent in its store adds when it is scraped (BEP 33).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filters<'a> {
    /// `BFsd`, of the seeds' addresses.
    pub seeds: &'a [u8; FILTER_LEN],
    /// `BFpe`, of the other peers' addresses.
    pub peers: &'a [u8; FILTER_LEN],
}

impl<'a> Filters<'a> {
    /// Reads the dict of a reply; `None` unless both are there and whole.
    pub fn parse(body: &ReplyBody<'a>) -> Option<Filters<'a>> {
        let (mut seeds, mut peers) = (None, None);
        for (key, value) in body.raw.as_dict()? {
            match key {
                b"BFsd" => seeds = seeds.or(Some(value)),
                b"BFpe" => peers = peers.or(Some(value)),
                _ => {}
            }
        }
        Some(Filters {
            seeds: seeds?.as_bytes()?.try_into().ok()?,
            peers: peers?.as_bytes()?.try_into().ok()?,
        })
    }
}

/// What the answer to `get` has besides id, nodes and token (BEP 44). Nothing is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ItemReply<'a> {
    /// The value.
    pub value: Option<Value<'a>>,
    /// The public key and the signature of a mutable item.
    pub signed: Option<(&'a [u8; 32], &'a [u8; 64])>,
    /// The sequence number of a mutable item.
    pub seq: Option<i64>,
}

impl<'a> ItemReply<'a> {
    /// Reads the dict of a reply; what is missing or wrong reads as `None`.
    pub fn parse(body: &ReplyBody<'a>) -> ItemReply<'a> {
        let (mut value, mut key, mut sig, mut seq) = (None, None, None, None);
        for (name, found) in body.raw.as_dict().into_iter().flatten() {
            let slot = match name {
                b"v" => &mut value,
                b"k" => &mut key,
                b"sig" => &mut sig,
                b"seq" => &mut seq,
                _ => continue,
            };
            slot.get_or_insert(found);
        }
        let key = key.and_then(|v| v.as_bytes()?.try_into().ok());
        let sig = sig.and_then(|v| v.as_bytes()?.try_into().ok());
        ItemReply { value, signed: key.zip(sig), seq: seq.and_then(|v| v.as_int()) }
    }
}

/// What the answer to `sample_infohashes` has besides id and nodes (BEP 51).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Samples<'a> {
    /// Seconds until other samples are given, 0 to [`SAMPLE_INTERVAL_MAX`].
    pub interval_secs: u32,
    /// Torrents that the node knows peers of.
    pub num: u64,
    /// Info-hashes of some of them, 20 bytes each.
    pub samples: &'a [u8],
}

/// Six hours (BEP 51, "Sampling RPC").
pub const SAMPLE_INTERVAL_MAX: u32 = 21_600;

impl<'a> Samples<'a> {
    /// Reads the dict of a reply; `None` without whole samples, as of a node that does not know the
    /// method. An interval that is missing reads as the longest.
    pub fn parse(body: &ReplyBody<'a>) -> Option<Samples<'a>> {
        let (mut interval, mut num, mut samples) = (None, None, None);
        for (name, found) in body.raw.as_dict()? {
            let slot = match name {
                b"interval" => &mut interval,
                b"num" => &mut num,
                b"samples" => &mut samples,
                _ => continue,
            };
            slot.get_or_insert(found);
        }
        let samples = samples?.as_bytes().filter(|s| s.len().is_multiple_of(20))?;
        let longest = i64::from(SAMPLE_INTERVAL_MAX);
        let interval = interval.and_then(|v| v.as_int()).unwrap_or(longest).clamp(0, longest);
        let told = num.and_then(|v| v.as_int()).and_then(|n| u64::try_from(n).ok());
        let num = told.unwrap_or(0).max(samples.len() as u64 / 20);
        Some(Samples { interval_secs: interval as u32, num, samples })
    }

    /// The info-hashes.
    pub fn info_hashes(&self) -> impl Iterator<Item = InfoHash> + use<'a> {
        self.samples.chunks_exact(20).filter_map(Id::from_slice)
    }
}

/// A list of compact nodes, if its length fits.
fn whole(value: Option<Value<'_>>, family: Family) -> &[u8] {
    let bytes = value.and_then(|v| v.as_bytes()).unwrap_or_default();
    if bytes.len().is_multiple_of(family.node_len()) { bytes } else { &[] }
}

/// A reply to send. What is `None` or an empty list of values is left out; an empty list of nodes
/// is written, as others expect the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reply<'a> {
    /// The answering node.
    pub id: NodeId,
    /// Compact v4 node infos, 26 bytes each ([`compact::put_node`]).
    pub nodes: Option<&'a [u8]>,
    /// Compact v6 node infos, 38 bytes each.
    pub nodes6: Option<&'a [u8]>,
    /// What an announce or a put must show.
    pub token: Option<&'a [u8]>,
    /// Peers.
    pub values: &'a [SocketAddr],
    /// The answer to a scrape.
    pub filters: Option<Filters<'a>>,
    /// The answer to `sample_infohashes`.
    pub samples: Option<Samples<'a>>,
    /// The answer to `get`.
    pub item: ItemReply<'a>,
}

impl Reply<'_> {
    /// Appends the message. `head.read_only` belongs to queries and is not written.
    pub fn encode(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.push(b'd');
        head.put_ip(out);
        out.extend_from_slice(b"1:rd");
        if let Some(filters) = &self.filters {
            put_pair(out, b"4:BFpe", filters.peers);
            put_pair(out, b"4:BFsd", filters.seeds);
        }
        out.extend_from_slice(b"2:id20:");
        out.extend_from_slice(self.id.as_bytes());
        if let Some(samples) = &self.samples {
            put_number(out, b"8:interval", i64::from(samples.interval_secs));
        }
        if let Some((key, _)) = self.item.signed {
            put_pair(out, b"1:k", key);
        }
        if let Some(nodes) = self.nodes {
            put_pair(out, b"5:nodes", nodes);
        }
        if let Some(nodes) = self.nodes6 {
            put_pair(out, b"6:nodes6", nodes);
        }
        if let Some(samples) = &self.samples {
            put_number(out, b"3:num", i64::try_from(samples.num).unwrap_or(i64::MAX));
            put_pair(out, b"7:samples", samples.samples);
        }
        if let Some(seq) = self.item.seq {
            put_number(out, b"3:seq", seq);
        }
        if let Some((_, sig)) = self.item.signed {
            put_pair(out, b"3:sig", sig);
        }
        if let Some(token) = self.token {
            put_pair(out, b"5:token", token);
        }
        if let Some(value) = self.item.value {
            out.extend_from_slice(b"1:v");
            out.extend_from_slice(value.raw());
        }
        if !self.values.is_empty() {
            out.extend_from_slice(b"6:valuesl");
            for addr in self.values {
                match addr {
                    SocketAddr::V4(addr) => {
                        let ([a, b, c, d], [e, f]) =
                            (addr.ip().octets(), addr.port().to_be_bytes());
                        out.extend_from_slice(&[b'6', b':', a, b, c, d, e, f]);
                    }
                    SocketAddr::V6(_) => {
                        out.extend_from_slice(b"18:");
                        compact::put_addr(out, addr);
                    }
                }
            }
            out.push(b'e');
        }
        out.push(b'e');
        head.put_tail(out, b'r');
    }
}

/// Writes an encoded key and a string.
#[inline]
fn put_pair(out: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    out.extend_from_slice(key);
    put_string(out, text);
}

/// Writes an encoded key and an integer.
fn put_number(out: &mut Vec<u8>, key: &[u8], number: i64) {
    out.extend_from_slice(key);
    Encoder::new(out).int(number);
}
