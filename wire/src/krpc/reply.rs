//! Replies (BEP 5, "DHT Queries"; BEP 32 for `nodes6`).

use std::net::SocketAddr;

use super::message::Head;
use crate::bencode::{Encoder, Value};
use crate::compact::{self, Family};
use crate::id::{Id, NodeId};

/// The answer to `ping` and `announce_peer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PingReply {
    /// The answering node.
    pub id: NodeId,
}

impl PingReply {
    /// Reads the dict of a reply; `None` without a valid id.
    pub fn parse(body: Value<'_>) -> Option<PingReply> {
        Some(PingReply { id: Id::from_slice(body.get(b"id")?.as_bytes()?)? })
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
    pub fn parse(body: Value<'a>) -> Option<FindNodeReply<'a>> {
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
    pub fn parse(body: Value<'a>) -> Option<GetPeersReply<'a>> {
        let (mut id, mut nodes, mut nodes6, mut token, mut values) = (None, None, None, None, None);
        for (key, value) in body.as_dict()? {
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
        Some(GetPeersReply {
            found: FindNodeReply {
                id: Id::from_slice(id?.as_bytes()?)?,
                nodes: whole(nodes, Family::V4),
                nodes6: whole(nodes6, Family::V6),
            },
            token: token.and_then(|v| v.as_bytes()),
            values,
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
    /// v4 nodes.
    pub nodes: Option<&'a [(NodeId, SocketAddr)]>,
    /// v6 nodes.
    pub nodes6: Option<&'a [(NodeId, SocketAddr)]>,
    /// What an announce must show.
    pub token: Option<&'a [u8]>,
    /// Peers.
    pub values: &'a [SocketAddr],
}

impl Reply<'_> {
    /// Appends the message. `head.read_only` belongs to queries and is not written.
    pub fn encode(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        Encoder::new(out).dict(|d| {
            head.put_ip(d);
            d.key(b"r").dict(|r| {
                r.key(b"id").bytes(self.id.as_bytes());
                put_nodes(r, b"nodes", self.nodes, Family::V4);
                put_nodes(r, b"nodes6", self.nodes6, Family::V6);
                if let Some(token) = self.token {
                    r.key(b"token").bytes(token);
                }
                if !self.values.is_empty() {
                    r.key(b"values").list(|l| {
                        for addr in self.values {
                            let len = Family::of(addr).addr_len();
                            l.bytes_with(len, |out| compact::put_addr(out, addr));
                        }
                    });
                }
            });
            head.put_tail(d, b"r");
        });
    }
}

/// Writes the nodes of `family`; others in the list are left out.
fn put_nodes(
    r: &mut Encoder<'_>,
    key: &[u8],
    nodes: Option<&[(NodeId, SocketAddr)]>,
    family: Family,
) {
    let Some(nodes) = nodes else { return };
    let fit = nodes.iter().filter(|(_, addr)| Family::of(addr) == family);
    r.key(key).bytes_with(fit.clone().count() * family.node_len(), |out| {
        for (id, addr) in fit {
            compact::put_node(out, id, addr);
        }
    });
}
