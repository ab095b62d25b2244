//! Replies (BEP 5, "DHT Queries"; BEP 32 for `nodes6`).

use std::net::SocketAddr;

use super::message::Head;
use super::put_string;
use crate::bencode::{self, Reader, Value};
use crate::compact::{self, Family};
use crate::id::{Id, NodeId};

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
        let v4 = compact::nodes(self.nodes, Family::V4).into_iter().flatten();
        v4.chain(compact::nodes(self.nodes6, Family::V6).into_iter().flatten())
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
        let values = self.values.and_then(|v| v.as_list()).into_iter().flatten();
        values.filter_map(|value| compact::addr(value.as_bytes()?))
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
    /// What an announce must show.
    pub token: Option<&'a [u8]>,
    /// Peers.
    pub values: &'a [SocketAddr],
}

impl Reply<'_> {
    /// Appends the message. `head.read_only` belongs to queries and is not written.
    pub fn encode(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.push(b'd');
        head.put_ip(out);
        out.extend_from_slice(b"1:rd2:id20:");
        out.extend_from_slice(self.id.as_bytes());
        if let Some(nodes) = self.nodes {
            out.extend_from_slice(b"5:nodes");
            put_string(out, nodes);
        }
        if let Some(nodes) = self.nodes6 {
            out.extend_from_slice(b"6:nodes6");
            put_string(out, nodes);
        }
        if let Some(token) = self.token {
            out.extend_from_slice(b"5:token");
            put_string(out, token);
        }
        if !self.values.is_empty() {
            out.extend_from_slice(b"6:valuesl");
            for addr in self.values {
                out.extend_from_slice(if addr.is_ipv4() { b"6:" } else { b"18:" });
                compact::put_addr(out, addr);
            }
            out.push(b'e');
        }
        out.push(b'e');
        head.put_tail(out, b'r');
    }
}
