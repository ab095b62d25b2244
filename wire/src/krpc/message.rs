//! The envelope that queries, replies and errors share.

use std::net::SocketAddr;

use super::error::Error;
use super::put_string;
use super::query::{Args, Query};
use super::reply::ReplyBody;
use crate::bencode::{Limits, Reader, Value};
use crate::compact;

/// The longest transaction id that is read. BEP 5 says "a short string of binary numbers"; nobody
/// measured sends more than 16 bytes, and an echo of more would be a reflection.
pub const TID_LEN_MAX: usize = 64;

/// What stands around the body of every message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head<'a> {
    /// The transaction id: opaque, 0 to [`TID_LEN_MAX`] bytes.
    pub tid: &'a [u8],
    /// The sender's client and version (BEP 5: "should be included in every message").
    pub version: Option<&'a [u8]>,
    /// The sender of this query answers none (BEP 43).
    pub read_only: bool,
    /// The receiver's address as the sender sees it (BEP 42, "Bootstrapping").
    pub ip: Option<SocketAddr>,
}

impl Head<'_> {
    /// Writes `ip`, which sorts between the other keys.
    pub(super) fn put_ip(&self, out: &mut Vec<u8>) {
        if let Some(addr) = &self.ip {
            out.extend_from_slice(if addr.is_ipv4() { b"2:ip6:" } else { b"2:ip18:" });
            compact::put_addr(out, addr);
        }
    }

    /// Writes `t`, `v` and `y`, and ends the message.
    pub(super) fn put_tail(&self, out: &mut Vec<u8>, kind: u8) {
        out.extend_from_slice(b"1:t");
        put_string(out, self.tid);
        if let Some(version) = self.version {
            out.extend_from_slice(b"1:v");
            put_string(out, version);
        }
        out.extend_from_slice(&[b'1', b':', b'y', b'1', b':', kind, b'e']);
    }
}

/// A datagram, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What all messages have.
    pub head: Head<'a>,
    /// What this one says.
    pub body: Body<'a>,
}

/// The three kinds of messages, and a query that cannot be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// A question.
    Query(Query<'a>),
    /// A question with arguments missing or wrong; says what. Answered by error 203.
    BadQuery(&'static str),
    /// The dict of an answer, to be read as the type that was asked for.
    Reply(ReplyBody<'a>),
    /// A refusal.
    Error(Error<'a>),
}

/// Why a datagram says nothing that could be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// No bencode, or beyond [`Limits::KRPC`].
    Bencode(crate::bencode::Error),
    /// Not a dict, or without `t` or `y`, or these of a wrong type.
    Malformed,
    /// A transaction id of more than [`TID_LEN_MAX`] bytes.
    LongTid,
}

impl<'a> Message<'a> {
    /// Reads a datagram, in one pass. Key order and unknown keys do not matter; of duplicate keys
    /// the first counts.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Dropped> {
        let mut reader = Reader::new(bytes, Limits::KRPC)?;
        let mut found = Found::default();
        let is_dict = reader.enter_dict()?;
        if is_dict {
            while let Some(key) = reader.key()? {
                found.take(key, &mut reader)?;
            }
        } else {
            reader.value()?;
        }
        reader.finish()?;
        if is_dict { found.message() } else { Err(Dropped::Malformed) }
    }

    /// Appends the message in canonical form, a reply's body as it stands. A [`Body::BadQuery`] is
    /// nothing that can be sent and writes nothing.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Query(query) => query.encode(&self.head, out),
            Body::BadQuery(_) => {}
            Body::Reply(body) => {
                out.push(b'd');
                self.head.put_ip(out);
                out.extend_from_slice(b"1:r");
                out.extend_from_slice(body.raw());
                self.head.put_tail(out, b'r');
            }
            Body::Error(error) => error.encode(&self.head, out),
        }
    }
}

impl From<crate::bencode::Error> for Dropped {
    fn from(error: crate::bencode::Error) -> Dropped {
        Dropped::Bencode(error)
    }
}

/// The values of the keys that matter: `None` where there is none, `Some(None)` where the first is
/// of a wrong type.
#[derive(Default)]
struct Found<'a> {
    args: Args<'a>,
    has_args: Option<bool>,
    error: Option<Value<'a>>,
    ip: Option<Option<&'a [u8]>>,
    name: Option<Option<&'a [u8]>>,
    reply: Option<Option<ReplyBody<'a>>>,
    read_only: Option<Option<i64>>,
    tid: Option<Option<&'a [u8]>>,
    version: Option<Option<&'a [u8]>>,
    kind: Option<Option<&'a [u8]>>,
}

impl<'a> Found<'a> {
    /// Reads the value of `key`.
    fn take(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<(), crate::bencode::Error> {
        let slot = match key {
            b"a" if self.has_args.is_none() => {
                self.has_args = Some(self.args.read(reader)?);
                return Ok(());
            }
            b"r" if self.reply.is_none() => {
                self.reply = Some(ReplyBody::read(reader)?);
                return Ok(());
            }
            b"e" => {
                self.error.get_or_insert(reader.value()?);
                return Ok(());
            }
            b"ro" => {
                self.read_only.get_or_insert(reader.int()?);
                return Ok(());
            }
            b"ip" => &mut self.ip,
            b"q" => &mut self.name,
            b"t" => &mut self.tid,
            b"v" => &mut self.version,
            b"y" => &mut self.kind,
            _ => return reader.value().map(drop),
        };
        let text = reader.bytes()?;
        slot.get_or_insert(text);
        Ok(())
    }

    fn message(&self) -> Result<Message<'a>, Dropped> {
        let tid = self.tid.flatten().ok_or(Dropped::Malformed)?;
        if tid.len() > TID_LEN_MAX {
            return Err(Dropped::LongTid);
        }
        let body = match self.kind.flatten() {
            Some(b"q") => {
                let args = (self.has_args == Some(true)).then_some(&self.args);
                match Query::new(self.name.flatten(), args) {
                    Ok(query) => Body::Query(query),
                    Err(reason) => Body::BadQuery(reason),
                }
            }
            Some(b"r") => Body::Reply(self.reply.flatten().ok_or(Dropped::Malformed)?),
            Some(b"e") => Body::Error(Error::parse(self.error.ok_or(Dropped::Malformed)?)),
            _ => return Err(Dropped::Malformed),
        };
        let head = Head {
            tid,
            version: self.version.flatten(),
            read_only: self.read_only.flatten() == Some(1),
            ip: self.ip.flatten().and_then(compact::addr),
        };
        Ok(Message { head, body })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        FindNodeReply, GetPeersReply, Method, PROTOCOL_ERROR, PingReply, Reply, Want,
    };
    use super::*;
    use crate::id::Id;
    use proptest::prelude::*;

    const A: Id = Id(*b"abcdefghij0123456789");
    const M: Id = Id(*b"mnopqrstuvwxyz123456");

    fn head(tid: &[u8]) -> Head<'_> {
        Head { tid, ..Head::default() }
    }

    fn query(id: Id, method: Method<'_>) -> Message<'_> {
        Message { head: head(b"aa"), body: Body::Query(Query { id, method }) }
    }

    fn written(message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    #[test]
    fn the_queries_of_bep_5_read_and_write_byte_for_byte() {
        let want = Want::default();
        for (bytes, method) in [
            (&b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"[..], Method::Ping),
            (
                b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e\
                  1:q9:find_node1:t2:aa1:y1:qe",
                Method::FindNode { target: M, want },
            ),
            (
                b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e\
                  1:q9:get_peers1:t2:aa1:y1:qe",
                Method::get_peers(M, want),
            ),
            (
                b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e\
                  9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe\
                  1:q13:announce_peer1:t2:aa1:y1:qe",
                Method::AnnouncePeer {
                    info_hash: M,
                    port: 6881,
                    implied_port: true,
                    seed: false,
                    token: b"aoeusnth",
                },
            ),
        ] {
            let message = query(A, method);
            assert_eq!(Message::parse(bytes), Ok(message));
            assert_eq!(written(&message), bytes);
        }
    }

    #[test]
    fn the_answers_of_bep_5_read_and_write_byte_for_byte() {
        let ping = b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re";
        let peers = b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth\
                      6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
        let error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee";
        let body = |bytes| match Message::parse(bytes).unwrap().body {
            Body::Reply(body) => body,
            other => panic!("{other:?}"),
        };

        assert_eq!(PingReply::parse(&body(ping)), Some(PingReply { id: M }));
        let mut out = Vec::new();
        Reply { id: M, ..Reply::default() }.encode(&head(b"aa"), &mut out);
        assert_eq!(out, ping);

        let reply = GetPeersReply::parse(&body(peers)).unwrap();
        assert_eq!((reply.found.id, reply.token), (A, Some(&b"aoeusnth"[..])));
        let values: Vec<_> = reply.peers().collect();
        let expected: Vec<SocketAddr> =
            vec!["97.120.106.101:11893".parse().unwrap(), "105.100.104.116:28269".parse().unwrap()];
        assert_eq!(values, expected);
        out.clear();
        Reply { id: A, token: Some(b"aoeusnth"), values: &values, ..Reply::default() }
            .encode(&head(b"aa"), &mut out);
        assert_eq!(out, peers);

        let message = Message::parse(error).unwrap();
        assert_eq!(
            message.body,
            Body::Error(Error { code: 201, text: b"A Generic Error Ocurred" })
        );
        assert_eq!(written(&message), error);
        for bytes in [&ping[..], peers] {
            assert_eq!(written(&Message::parse(bytes).unwrap()), bytes);
        }
    }

    #[test]
    fn the_node_lists_of_bep_5_are_no_whole_infos() {
        // The BEP abbreviates them as `9:def456...`: an odd length reads as no nodes.
        for bytes in [
            &b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re"[..],
            b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re",
        ] {
            let Body::Reply(body) = Message::parse(bytes).unwrap().body else { panic!() };
            let reply = FindNodeReply::parse(&body).unwrap();
            assert_eq!((reply.id, reply.nodes().count()), (Id(*b"0123456789abcdefghij"), 0));
        }
    }

    #[test]
    fn an_envelope_with_a_missing_or_wrong_field_is_dropped() {
        for (bytes, why) in [
            (&b"de"[..], Dropped::Malformed),
            (b"le", Dropped::Malformed),
            (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe", Dropped::Malformed),
            (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:ti7e1:y1:qe", Dropped::Malformed),
            (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aae", Dropped::Malformed),
            (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:xe", Dropped::Malformed),
            (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:yi1ee", Dropped::Malformed),
            (b"d1:t2:aa1:y1:re", Dropped::Malformed),
            (b"d1:rle1:t2:aa1:y1:re", Dropped::Malformed),
            (b"d1:t2:aa1:y1:ee", Dropped::Malformed),
            (
                b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qeJUNK",
                Dropped::Bencode(crate::bencode::Error::Trailing),
            ),
            (
                b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:q",
                Dropped::Bencode(crate::bencode::Error::Truncated),
            ),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(Message::parse(bytes), Err(why), "{text}");
        }
        let tid = |len: usize| {
            let head = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t{len}:");
            [head.as_bytes(), &vec![b'x'; len], b"1:y1:qe"].concat()
        };
        for len in [0, 1, 2, 4, 16, 64] {
            assert_eq!(Message::parse(&tid(len)).unwrap().head.tid.len(), len);
        }
        assert_eq!(Message::parse(&tid(65)), Err(Dropped::LongTid));
        assert_eq!(Message::parse(&tid(400)), Err(Dropped::LongTid));
    }

    /// One argument of a query: its key, a good value, and bad ones with the complaint; an empty
    /// bad value leaves the argument out.
    type Argument = (&'static str, &'static str, &'static [&'static str], &'static str);

    #[test]
    fn a_query_with_a_missing_or_wrong_argument_keeps_its_tid() {
        const BAD_ID: &[&str] = &["", "i5e", "0:", "19:abcdefghij012345678", "le", "de"];
        let id = ("id", "20:abcdefghij0123456789", BAD_ID, "id missing or not 20 bytes");
        let hash = "20:mnopqrstuvwxyz123456";
        let info_hash = ("info_hash", hash, BAD_ID, "info_hash missing or not 20 bytes");
        let target = ("target", hash, BAD_ID, "target missing or not 20 bytes");
        const BAD_PORT: &[&str] = &["", "i0e", "i-1e", "i65536e", "4:6881", "le"];
        let port = ("port", "i6881e", BAD_PORT, "port missing or out of range");
        let token = ("token", "8:aoeusnth", &["", "i5e", "le"] as &[&str], "token missing");
        let methods: [(&str, &[Argument]); 4] = [
            ("4:ping", &[id]),
            ("9:find_node", &[id, target]),
            ("9:get_peers", &[id, info_hash]),
            ("13:announce_peer", &[id, info_hash, port, token]),
        ];
        let build = |method: &str, arguments: &[Argument], bad: Option<(usize, &str)>| {
            let mut text = String::from("d1:ad");
            for (i, (key, good, ..)) in arguments.iter().enumerate() {
                let value = bad.filter(|(at, _)| *at == i).map_or(*good, |(_, value)| value);
                if !value.is_empty() {
                    text += &format!("{}:{key}{value}", key.len());
                }
            }
            text + "e1:q" + method + "1:t2:aa1:y1:qe"
        };
        for (method, arguments) in methods {
            let good = build(method, arguments, None);
            assert!(matches!(Message::parse(good.as_bytes()).unwrap().body, Body::Query(_)));
            for (i, (.., bads, why)) in arguments.iter().enumerate() {
                for bad in *bads {
                    let text = build(method, arguments, Some((i, bad)));
                    let message = Message::parse(text.as_bytes()).unwrap();
                    assert_eq!((message.head.tid, message.body), (&b"aa"[..], Body::BadQuery(why)));
                }
            }
        }
        for text in [
            "d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe",
            "d1:ad2:id20:abcdefghij0123456789e1:qi4e1:t2:aa1:y1:qe",
            "d1:q4:ping1:t2:aa1:y1:qe",
            "d1:ale1:q4:ping1:t2:aa1:y1:qe",
        ] {
            let message = Message::parse(text.as_bytes()).unwrap();
            assert!(matches!(message.body, Body::BadQuery(_)), "{text}");
        }
    }

    #[test]
    fn an_implied_port_needs_no_port() {
        for port in ["", "4:porti0e", "4:porti99999e"] {
            let text = format!(
                "d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:\
                 mnopqrstuvwxyz123456{port}5:token1:xe1:q13:announce_peer1:t2:aa1:y1:qe"
            );
            let body = Message::parse(text.as_bytes()).unwrap().body;
            let Body::Query(Query { method: Method::AnnouncePeer { implied_port, .. }, .. }) = body
            else {
                panic!("{body:?}")
            };
            assert!(implied_port);
        }
    }

    #[test]
    fn optional_fields_of_a_wrong_type_are_as_if_missing() {
        let text = "d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:want2:n4e\
                    2:ip3:abc1:q9:find_node2:roi007e1:t2:aa1:vi5e1:y1:qe";
        let message = Message::parse(text.as_bytes()).unwrap();
        let want = Want::default();
        assert_eq!(message, query(A, Method::FindNode { target: M, want }));
        let text = "d1:y1:q1:t2:aa2:roi1e1:q4:ping1:v4:UT011:t2:bb\
                    1:ad2:id20:abcdefghij0123456789ee";
        let message = Message::parse(text.as_bytes()).unwrap();
        assert!(message.head.read_only);
        assert_eq!((message.head.tid, message.head.version), (&b"aa"[..], Some(&b"UT01"[..])));
    }

    #[test]
    fn wanted_families() {
        use crate::compact::Family::{V4, V6};
        let want = |text: &str| Want::parse(Value::parse(text.as_bytes(), Limits::KRPC).unwrap());
        for (text, by, v4, v6) in [
            ("le", V4, true, false),
            ("le", V6, false, true),
            ("l2:zze", V6, false, true),
            ("2:n4", V6, false, true),
            ("l2:n4e", V6, true, false),
            ("l2:n6e", V4, false, true),
            ("l2:n42:n6e", V4, true, true),
            ("l2:n42:n42:n42:n4e", V4, true, false),
        ] {
            let want = want(text);
            assert_eq!((want.wants(V4, by), want.wants(V6, by)), (v4, v6), "{text} by {by:?}");
        }
    }

    #[test]
    fn a_reply_reads_whatever_stands_in_its_fields() {
        let reply = |fields: &str| {
            let text = format!("d1:rd{fields}e1:t2:aa1:y1:re");
            let Body::Reply(body) = Message::parse(text.as_bytes()).unwrap().body else { panic!() };
            GetPeersReply::parse(&body)
                .map(|r| (r.found.nodes().count(), r.token.map(<[u8]>::len), r.peers().count()))
        };
        let id = "2:id20:abcdefghij0123456789";
        let node = "x".repeat(26);
        let node6 = "y".repeat(38);
        for bad in ["", "2:idi1e", "2:id19:abcdefghij012345678", "2:idle"] {
            assert_eq!(reply(bad), None, "{bad}");
        }
        for (fields, expected) in [
            (String::new(), (0, None, 0)),
            (format!("5:nodes26:{node}6:nodes638:{node6}"), (2, None, 0)),
            (format!("5:nodes25:{}6:nodes6i4e", &node[1..]), (0, None, 0)),
            (format!("5:nodes0:6:nodes639:{node6}z"), (0, None, 0)),
            ("5:nodesle5:token0:6:values3:abc".into(), (0, Some(0), 0)),
            ("5:tokeni1e6:valuesl5:abcde7:abcdefgi1elee".into(), (0, None, 0)),
            ("6:valuesl6:abcdef18:abcdefghijklmnopqre".into(), (0, None, 2)),
        ] {
            assert_eq!(reply(&format!("{id}{fields}")), Some(expected), "{fields}");
        }
    }

    #[test]
    fn error_lists_of_any_shape_are_read() {
        for (list, code, text) in [
            ("li203e3:bade", 203, "bad"),
            ("li203ee", 203, ""),
            ("le", 0, ""),
            ("l1:xi1ee", 0, ""),
            ("3:abc", 0, ""),
            ("de", 0, ""),
        ] {
            let bytes = format!("d1:e{list}1:t2:aa1:y1:ee");
            let body = Message::parse(bytes.as_bytes()).unwrap().body;
            assert_eq!(body, Body::Error(Error { code, text: text.as_bytes() }), "{list}");
        }
        let mut out = Vec::new();
        let head = Head { ip: Some("1.2.3.4:258".parse().unwrap()), ..head(b"aa") };
        Error { code: PROTOCOL_ERROR, text: b"x" }.encode(&head, &mut out);
        assert_eq!(out, b"d1:eli203e1:xe2:ip6:\x01\x02\x03\x04\x01\x021:t2:aa1:y1:ee");
    }

    fn any_id() -> impl Strategy<Value = Id> {
        any::<[u8; 20]>().prop_map(Id)
    }

    fn any_addr() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
            (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            tid in proptest::collection::vec(any::<u8>(), 0..=TID_LEN_MAX),
            version in proptest::option::of(any::<[u8; 4]>()),
            read_only: bool,
            ip in proptest::option::of(any_addr()),
            (id, target) in (any_id(), any_id()),
            (v4, v6) in any::<(bool, bool)>(),
            (implied_port, seed, noseed, scrape) in any::<(bool, bool, bool, bool)>(),
            port in 1..=u16::MAX,
            token in proptest::collection::vec(any::<u8>(), 0..40),
            name in "[a-z]{14,20}",
            kind in 0..6,
            error in (any::<i64>(), "[ -~]{0,30}"),
        ) {
            let want = Want { v4, v6 };
            let version = version.as_ref().map(|v| &v[..]);
            let method = match kind {
                0 => Method::Ping,
                1 => Method::FindNode { target, want },
                2 => Method::GetPeers { info_hash: target, want, noseed, scrape },
                3 => {
                    let (info_hash, token) = (target, &token);
                    Method::AnnouncePeer { info_hash, port, implied_port, seed, token }
                }
                _ => Method::Unknown { name: name.as_bytes(), target: v4.then_some(target), want },
            };
            let message = if kind == 5 {
                let body = Body::Error(Error { code: error.0, text: error.1.as_bytes() });
                Message { head: Head { tid: &tid, version, read_only: false, ip }, body }
            } else {
                let body = Body::Query(Query { id, method });
                Message { head: Head { tid: &tid, version, read_only, ip: None }, body }
            };
            let bytes = written(&message);
            prop_assert_eq!(Message::parse(&bytes), Ok(message));
            prop_assert!(Value::parse(&bytes, Limits::KRPC).unwrap().is_canonical());
        }

        #[test]
        fn a_reply_reads_back(
            tid in proptest::collection::vec(any::<u8>(), 0..8),
            ip in any_addr(),
            id in any_id(),
            nodes in proptest::collection::vec((any_id(), any_addr()), 0..9),
            token in proptest::option::of(any::<[u8; 8]>()),
            values in proptest::collection::vec(any_addr(), 0..50),
        ) {
            let token = token.as_ref().map(|t| &t[..]);
            let (v4, v6): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|(_, a)| a.is_ipv4());
            let compact = |nodes: &[(Id, SocketAddr)]| {
                let mut out = Vec::new();
                nodes.iter().for_each(|(id, addr)| compact::put_node(&mut out, id, addr));
                out
            };
            let (four, six) = (compact(&v4), compact(&v6));
            let (nodes, nodes6) = (Some(&four[..]), Some(&six[..]));
            let reply = Reply { id, nodes, nodes6, token, values: &values, ..Reply::default() };
            let head = Head { tid: &tid, ip: Some(ip), ..Head::default() };
            let mut bytes = Vec::new();
            reply.encode(&head, &mut bytes);
            let message = Message::parse(&bytes).unwrap();
            prop_assert_eq!(message.head, head);
            prop_assert_eq!(written(&message), bytes.clone());
            let Body::Reply(body) = message.body else { panic!() };
            let back = GetPeersReply::parse(&body).unwrap();
            prop_assert_eq!(back.found.nodes().collect::<Vec<_>>(), [v4, v6].concat());
            prop_assert_eq!(back.peers().collect::<Vec<_>>(), values);
            prop_assert_eq!((back.found.id, back.token), (id, token));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..200, byte: u8, cut in 0usize..200) {
            let mut bytes = b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:\
                mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa\
                1:y1:qe".to_vec();
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(cut);
            let _ = Message::parse(&bytes);
        }
    }
}
