//! Queries (BEP 5, "DHT Queries"; BEP 32 for `want`).

use super::message::Head;
use super::put_string;
use crate::bencode::{self, Encoder, Reader, Value};
use crate::compact::Family;
use crate::id::{Id, InfoHash, NodeId};

/// Which families of nodes the asker wants (BEP 32, "want"). None of them: the family that the
/// query came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Want {
    /// `n4`
    pub v4: bool,
    /// `n6`
    pub v6: bool,
}

impl Want {
    /// Both families.
    pub const BOTH: Want = Want { v4: true, v6: true };

    /// Whether nodes of `family` are wanted by a query that came by `by`.
    pub fn wants(self, family: Family, by: Family) -> bool {
        match (self.v4, self.v6, family) {
            (false, false, _) => family == by,
            (v4, _, Family::V4) => v4,
            (_, v6, Family::V6) => v6,
        }
    }

    pub(super) fn parse(value: Value<'_>) -> Want {
        let mut want = Want::default();
        for flag in value.as_list().into_iter().flatten() {
            match flag.as_bytes() {
                Some(b"n4") => want.v4 = true,
                Some(b"n6") => want.v6 = true,
                _ => {}
            }
        }
        want
    }

    fn encode(self, d: &mut Encoder<'_>) {
        if self != Want::default() {
            d.key(b"want").list(|l| {
                if self.v4 {
                    l.bytes(b"n4");
                }
                if self.v6 {
                    l.bytes(b"n6");
                }
            });
        }
    }
}

/// A question and who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// The asker's id.
    pub id: NodeId,
    /// What is asked.
    pub method: Method<'a>,
}

/// What is asked, with its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method<'a> {
    /// Are you there?
    Ping,
    /// Which nodes do you know near `target`?
    FindNode {
        /// The id sought.
        target: NodeId,
        /// Families of the nodes to return.
        want: Want,
    },
    /// Which peers have this torrent, and which nodes are near it?
    GetPeers {
        /// The torrent.
        info_hash: InfoHash,
        /// Families of the nodes to return.
        want: Want,
    },
    /// I have this torrent.
    AnnouncePeer {
        /// The torrent.
        info_hash: InfoHash,
        /// The peer's TCP port, 1 to 65,535; means nothing if `implied_port`.
        port: u16,
        /// Take the port from which this datagram came.
        implied_port: bool,
        /// What the answer to `get_peers` gave.
        token: &'a [u8],
    },
    /// A method from the future. With a target it is served as find_node, as BEP 5
    /// implementations do for forward compatibility.
    Unknown {
        /// Its name.
        name: &'a [u8],
        /// Its `target`, or else its `info_hash`.
        target: Option<Id>,
        /// Families of the nodes to return.
        want: Want,
    },
}

/// The arguments of all methods: `None` where there is none, `Some(None)` where the first of that
/// name is of a wrong type.
#[derive(Default)]
pub(super) struct Args<'a> {
    id: Option<Option<&'a [u8]>>,
    implied_port: Option<Option<i64>>,
    info_hash: Option<Option<&'a [u8]>>,
    port: Option<Option<i64>>,
    target: Option<Option<&'a [u8]>>,
    token: Option<Option<&'a [u8]>>,
    want: Option<Value<'a>>,
}

impl<'a> Args<'a> {
    /// Reads the value of `a`; false if it is no dict.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<bool, bencode::Error> {
        if !reader.enter_dict()? {
            return reader.value().map(|_| false);
        }
        while let Some(key) = reader.key()? {
            match key {
                b"id" => keep(&mut self.id, reader.bytes()?),
                b"implied_port" => keep(&mut self.implied_port, reader.int()?),
                b"info_hash" => keep(&mut self.info_hash, reader.bytes()?),
                b"port" => keep(&mut self.port, reader.int()?),
                b"target" => keep(&mut self.target, reader.bytes()?),
                b"token" => keep(&mut self.token, reader.bytes()?),
                b"want" => keep(&mut self.want, reader.value()?),
                _ => drop(reader.value()?),
            }
        }
        Ok(true)
    }

    fn want(&self) -> Want {
        self.want.map(Want::parse).unwrap_or_default()
    }

    fn announce(&self) -> Result<Method<'a>, &'static str> {
        let implied_port = self.implied_port.flatten().is_some_and(|flag| flag != 0);
        let port = self.port.flatten().and_then(|port| u16::try_from(port).ok());
        let port = match port.filter(|&port| port != 0) {
            Some(port) => port,
            None if implied_port => 0,
            None => return Err("port missing or out of range"),
        };
        Ok(Method::AnnouncePeer {
            info_hash: id(self.info_hash).ok_or("info_hash missing or not 20 bytes")?,
            port,
            implied_port,
            token: self.token.flatten().ok_or("token missing")?,
        })
    }
}

/// Of several values under one key the first counts.
fn keep<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn id(value: Option<Option<&[u8]>>) -> Option<Id> {
    value.flatten().and_then(Id::from_slice)
}

impl<'a> Query<'a> {
    /// Makes a query of the values of `q` and `a`; an error says what is wrong with them.
    pub(super) fn new(
        name: Option<&'a [u8]>,
        args: Option<&Args<'a>>,
    ) -> Result<Query<'a>, &'static str> {
        let name = name.ok_or("method missing")?;
        let args = args.ok_or("arguments missing")?;
        let sender = id(args.id).ok_or("id missing or not 20 bytes")?;
        let method = match name {
            b"ping" => Method::Ping,
            b"find_node" => Method::FindNode {
                target: id(args.target).ok_or("target missing or not 20 bytes")?,
                want: args.want(),
            },
            b"get_peers" => Method::GetPeers {
                info_hash: id(args.info_hash).ok_or("info_hash missing or not 20 bytes")?,
                want: args.want(),
            },
            b"announce_peer" => args.announce()?,
            _ => Method::Unknown {
                name,
                target: id(args.target).or(id(args.info_hash)),
                want: args.want(),
            },
        };
        Ok(Query { id: sender, method })
    }

    /// Appends the message. `head.ip` belongs to answers and is not written.
    pub fn encode(&self, head: &Head<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"d1:a");
        Encoder::new(out).dict(|a| self.put_args(a));
        out.extend_from_slice(b"1:q");
        put_string(out, self.method.name());
        if head.read_only {
            out.extend_from_slice(b"2:roi1e");
        }
        head.put_tail(out, b'q');
    }

    fn put_args(&self, a: &mut Encoder<'_>) {
        a.key(b"id").bytes(self.id.as_bytes());
        match self.method {
            Method::Ping => {}
            Method::FindNode { target, want } => {
                a.key(b"target").bytes(target.as_bytes());
                want.encode(a);
            }
            Method::GetPeers { info_hash, want } => {
                a.key(b"info_hash").bytes(info_hash.as_bytes());
                want.encode(a);
            }
            Method::AnnouncePeer { info_hash, port, implied_port, token } => {
                if implied_port {
                    a.key(b"implied_port").int(1);
                }
                a.key(b"info_hash").bytes(info_hash.as_bytes());
                a.key(b"port").int(i64::from(port));
                a.key(b"token").bytes(token);
            }
            Method::Unknown { target, want, .. } => {
                if let Some(target) = target {
                    a.key(b"target").bytes(target.as_bytes());
                }
                want.encode(a);
            }
        }
    }
}

impl<'a> Method<'a> {
    /// The name on the wire.
    pub fn name(&self) -> &'a [u8] {
        match self {
            Method::Ping => b"ping",
            Method::FindNode { .. } => b"find_node",
            Method::GetPeers { .. } => b"get_peers",
            Method::AnnouncePeer { .. } => b"announce_peer",
            Method::Unknown { name, .. } => name,
        }
    }
}
