//! Queries (BEP 5, "DHT Queries"; BEP 32 for `want`; BEP 33, 44 and 51).

use sha1::{Digest, Sha1};

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
        /// Return peers that are no seeds, if there are (BEP 33).
        noseed: bool,
        /// Return the filters of seeds and peers (BEP 33).
        scrape: bool,
    },
    /// I have this torrent.
    AnnouncePeer {
        /// The torrent.
        info_hash: InfoHash,
        /// The peer's TCP port, 1 to 65,535; means nothing if `implied_port`.
        port: u16,
        /// Take the port from which this datagram came.
        implied_port: bool,
        /// The peer is a seed (BEP 33).
        seed: bool,
        /// What the answer to `get_peers` gave.
        token: &'a [u8],
    },
    /// Which item is stored under `target` (BEP 44), and which nodes are near it?
    Get {
        /// The key of the item.
        target: Id,
        /// Return the value only if its sequence number is higher than this.
        seq: Option<i64>,
        /// Families of the nodes to return.
        want: Want,
    },
    /// Store this item (BEP 44).
    Put(Put<'a>),
    /// Which torrents do you know peers of (BEP 51), and which nodes are near `target`?
    SampleInfohashes {
        /// Which nodes are told of; it has no effect on the torrents.
        target: Id,
        /// Families of the nodes to return.
        want: Want,
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

/// The arguments of `put` (BEP 44). Their sizes are for the server to judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put<'a> {
    /// What the answer to `get` gave.
    pub token: &'a [u8],
    /// The value: canonical bencode, of any length.
    pub value: Value<'a>,
    /// What a mutable item has besides.
    pub signed: Option<Signed<'a>>,
}

/// What makes an item mutable (BEP 44, "Mutable Items").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed<'a> {
    /// The ed25519 public key.
    pub key: &'a [u8; 32],
    /// Tells the items of one key apart; of any length, usually empty.
    pub salt: &'a [u8],
    /// The sequence number; never negative.
    pub seq: i64,
    /// The signature of salt, sequence number and value; not verified.
    pub sig: &'a [u8; 64],
    /// Store it only in place of an item with this sequence number.
    pub cas: Option<i64>,
}

/// The arguments of the methods that are asked most: `None` where there is none, `Some(None)` where
/// the first of that name is of a wrong type. Others are looked up in `all`.
#[derive(Default)]
pub(super) struct Args<'a> {
    all: Option<Value<'a>>,
    id: Option<Option<&'a [u8]>>,
    implied_port: Option<Option<i64>>,
    info_hash: Option<Option<&'a [u8]>>,
    port: Option<Option<i64>>,
    target: Option<Option<&'a [u8]>>,
    token: Option<Option<&'a [u8]>>,
    want: Option<Value<'a>>,
    noseed: Option<bool>,
    scrape: Option<bool>,
    seed: Option<bool>,
}

impl<'a> Args<'a> {
    /// Reads the value of `a`; false if it is no dict.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<bool, bencode::Error> {
        let start = reader.position();
        if !reader.enter_dict()? {
            return reader.value().map(|_| false);
        }
        while let Some(key) = reader.key()? {
            match key {
                b"id" => keep(&mut self.id, reader.bytes()?),
                b"implied_port" => keep(&mut self.implied_port, reader.int()?),
                b"info_hash" => keep(&mut self.info_hash, reader.bytes()?),
                b"noseed" => keep(&mut self.noseed, reader.int()? == Some(1)),
                b"port" => keep(&mut self.port, reader.int()?),
                b"scrape" => keep(&mut self.scrape, reader.int()? == Some(1)),
                b"seed" => keep(&mut self.seed, reader.int()? == Some(1)),
                b"target" => keep(&mut self.target, reader.bytes()?),
                b"token" => keep(&mut self.token, reader.bytes()?),
                b"want" => keep(&mut self.want, reader.value()?),
                _ => drop(reader.value()?),
            }
        }
        self.all = Some(reader.since(start));
        Ok(true)
    }

    /// The first argument of this name.
    fn get(&self, name: &[u8]) -> Option<Value<'a>> {
        self.all.and_then(|all| all.get(name))
    }

    /// An argument that is an integer if it is there.
    fn int(&self, name: &[u8], complaint: &'static str) -> Result<Option<i64>, &'static str> {
        self.get(name).map(|value| value.as_int().ok_or(complaint)).transpose()
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
            seed: self.seed == Some(true),
            token: self.token.flatten().ok_or("token missing")?,
        })
    }

    fn item_get(&self) -> Result<Method<'a>, &'static str> {
        let target = id(self.target).ok_or(NO_TARGET)?;
        let seq = self.int(b"seq", "seq is no integer of 64 bits")?;
        Ok(Method::Get { target, seq, want: self.want() })
    }

    fn item_put(&self) -> Result<Method<'a>, &'static str> {
        let value = self.get(b"v").ok_or("v missing")?;
        if !value.is_canonical() {
            return Err("v is no canonical bencode");
        }
        let token = self.token.flatten().ok_or("token missing")?;
        // Who means to sign and leaves a part out has not stored an immutable item.
        let signed = match (self.get(b"k"), self.get(b"seq"), self.get(b"sig")) {
            (None, None, None) => None,
            (key, seq, sig) => Some(self.signed(key, seq, sig)?),
        };
        Ok(Method::Put(Put { token, value, signed }))
    }

    fn signed(
        &self,
        key: Option<Value<'a>>,
        seq: Option<Value<'a>>,
        sig: Option<Value<'a>>,
    ) -> Result<Signed<'a>, &'static str> {
        let key = key.and_then(|key| key.as_bytes()?.try_into().ok());
        let seq = seq.and_then(|seq| seq.as_int());
        let sig = sig.and_then(|sig| sig.as_bytes()?.try_into().ok());
        let salt = self.get(b"salt").map(|salt| salt.as_bytes().ok_or("salt is no string"));
        Ok(Signed {
            key: key.ok_or("k missing or not 32 bytes")?,
            salt: salt.transpose()?.unwrap_or_default(),
            // BEP 44 lets negative ones be refused.
            seq: seq.filter(|&seq| seq >= 0).ok_or("seq missing, negative or beyond 64 bits")?,
            sig: sig.ok_or("sig missing or not 64 bytes")?,
            cas: self.int(b"cas", "cas is no integer of 64 bits")?,
        })
    }
}

const NO_TARGET: &str = "target missing or not 20 bytes";

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
            b"find_node" => {
                Method::FindNode { target: id(args.target).ok_or(NO_TARGET)?, want: args.want() }
            }
            b"get_peers" => Method::GetPeers {
                info_hash: id(args.info_hash).ok_or("info_hash missing or not 20 bytes")?,
                want: args.want(),
                noseed: args.noseed == Some(true),
                scrape: args.scrape == Some(true),
            },
            b"announce_peer" => args.announce()?,
            b"get" => args.item_get()?,
            b"put" => args.item_put()?,
            b"sample_infohashes" => Method::SampleInfohashes {
                target: id(args.target).ok_or(NO_TARGET)?,
                want: args.want(),
            },
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
        if let Method::Put(put) = &self.method {
            return put.encode(self.id, a);
        }
        a.key(b"id").bytes(self.id.as_bytes());
        match self.method {
            Method::Ping | Method::Put(_) => {}
            Method::FindNode { target, want } | Method::SampleInfohashes { target, want } => {
                a.key(b"target").bytes(target.as_bytes());
                want.encode(a);
            }
            Method::GetPeers { info_hash, want, noseed, scrape } => {
                a.key(b"info_hash").bytes(info_hash.as_bytes());
                if noseed {
                    a.key(b"noseed").int(1);
                }
                if scrape {
                    a.key(b"scrape").int(1);
                }
                want.encode(a);
            }
            Method::AnnouncePeer { info_hash, port, implied_port, seed, token } => {
                if implied_port {
                    a.key(b"implied_port").int(1);
                }
                a.key(b"info_hash").bytes(info_hash.as_bytes());
                a.key(b"port").int(i64::from(port));
                if seed {
                    a.key(b"seed").int(1);
                }
                a.key(b"token").bytes(token);
            }
            Method::Get { target, seq, want } => {
                if let Some(seq) = seq {
                    a.key(b"seq").int(seq);
                }
                a.key(b"target").bytes(target.as_bytes());
                want.encode(a);
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

impl Put<'_> {
    /// Where the item is stored: the SHA-1 of the value, or of key and salt.
    pub fn target(&self) -> Id {
        Id(match &self.signed {
            None => Sha1::digest(self.value.raw()).into(),
            Some(signed) => {
                Sha1::new().chain_update(signed.key).chain_update(signed.salt).finalize().into()
            }
        })
    }

    fn encode(&self, id: NodeId, a: &mut Encoder<'_>) {
        if let Some(cas) = self.signed.and_then(|signed| signed.cas) {
            a.key(b"cas").int(cas);
        }
        a.key(b"id").bytes(id.as_bytes());
        if let Some(signed) = &self.signed {
            a.key(b"k").bytes(signed.key);
            if !signed.salt.is_empty() {
                a.key(b"salt").bytes(signed.salt);
            }
            a.key(b"seq").int(signed.seq);
            a.key(b"sig").bytes(signed.sig);
        }
        // BEP 44 has it not, as it follows from the others; mainline 8 drops a put without.
        a.key(b"target").bytes(self.target().as_bytes());
        a.key(b"token").bytes(self.token);
        a.key(b"v").raw(self.value.raw());
    }
}

impl<'a> Method<'a> {
    /// The plain `get_peers`, without BEP 33.
    pub fn get_peers(info_hash: InfoHash, want: Want) -> Method<'a> {
        Method::GetPeers { info_hash, want, noseed: false, scrape: false }
    }

    /// The plain `announce_peer`: of a peer on `port` that is no seed.
    pub fn announce_peer(info_hash: InfoHash, port: u16, token: &'a [u8]) -> Method<'a> {
        Method::AnnouncePeer { info_hash, port, implied_port: false, seed: false, token }
    }

    /// The name on the wire.
    pub fn name(&self) -> &'a [u8] {
        match self {
            Method::Ping => b"ping",
            Method::FindNode { .. } => b"find_node",
            Method::GetPeers { .. } => b"get_peers",
            Method::AnnouncePeer { .. } => b"announce_peer",
            Method::Get { .. } => b"get",
            Method::Put(_) => b"put",
            Method::SampleInfohashes { .. } => b"sample_infohashes",
            Method::Unknown { name, .. } => name,
        }
    }
}
