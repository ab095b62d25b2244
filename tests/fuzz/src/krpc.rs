//! Any datagram: what is read from it is written and reads the same again.

use std::net::SocketAddr;

use wire::bencode::{Limits, Value};
use wire::krpc::{
    Body, Dropped, Filters, FindNodeReply, GetPeersReply, Head, ItemReply, Message, PingReply,
    Reply, ReplyBody, Samples, TID_LEN_MAX,
};

/// One input.
pub fn run(bytes: &[u8]) {
    let whole = Value::parse(bytes, Limits::KRPC);
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(Dropped::Bencode(error)) => return assert_eq!(whole, Err(error)),
        Err(_) => return assert!(whole.is_ok()),
    };
    assert!(whole.is_ok_and(|value| value.as_dict().is_some()));
    assert!(message.head.tid.len() <= TID_LEN_MAX);
    let mut written = Vec::new();
    message.encode(&mut written);
    if let Body::BadQuery(reason) = message.body {
        assert!(written.is_empty() && !reason.is_empty());
        return;
    }
    let again = Message::parse(&written).expect("what we wrote");
    // Queries carry no `ip`, answers no `ro`.
    let head = match message.body {
        Body::Query(_) => Head { ip: None, ..message.head },
        _ => Head { read_only: false, ..message.head },
    };
    assert_eq!(again, Message { head, ..message });
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, written);
    if let Body::Reply(body) = &message.body {
        reply(&head, body);
    } else {
        let value = Value::parse(&written, Limits::KRPC).expect("what we wrote");
        assert!(value.is_canonical());
    }
}

/// The same dict as each kind of reply, and what we would write of it.
fn reply(head: &Head<'_>, body: &ReplyBody<'_>) {
    let id = body.id();
    assert_eq!(PingReply::parse(body).map(|reply| reply.id), id);
    assert_eq!(FindNodeReply::parse(body).map(|reply| reply.id), id);
    let Some(read) = GetPeersReply::parse(body) else { return assert_eq!(id, None) };
    let (found, values) = (read.found, read.peers().collect::<Vec<_>>());
    let nodes: Vec<_> = found.nodes().collect();
    assert_eq!(nodes.len(), found.nodes.len() / 26 + found.nodes6.len() / 38);
    let said = Reply {
        id: found.id,
        nodes: (!found.nodes.is_empty()).then_some(found.nodes),
        nodes6: (!found.nodes6.is_empty()).then_some(found.nodes6),
        token: read.token,
        values: &values,
        filters: Filters::parse(body),
        samples: Samples::parse(body),
        item: ItemReply::parse(body),
    };
    let mut written = Vec::new();
    said.encode(head, &mut written);
    let value = Value::parse(&written, Limits::KRPC).expect("what we wrote");
    assert!(value.is_canonical() || said.item.value.is_some_and(|v| !v.is_canonical()));
    let Ok(Message { head: head_again, body: Body::Reply(body) }) = Message::parse(&written) else {
        panic!("a reply reads as something else");
    };
    let again = GetPeersReply::parse(&body).expect("an id");
    let peers: Vec<SocketAddr> = again.peers().collect();
    assert_eq!((head_again, again.found, again.token), (*head, found, read.token));
    assert_eq!(peers, values);
    assert_eq!(Filters::parse(&body), said.filters);
    assert_eq!(Samples::parse(&body), said.samples);
    assert_eq!(ItemReply::parse(&body), said.item);
}
