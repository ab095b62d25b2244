//! Any payload of an extension message: what is read is written and reads the same again.

use wire::ext::{ExtHandshake, MetadataMessage, Pex};

/// Longest name of a program, in bytes, and most peers of one list.
const CLIENT_MAX: usize = 100;
const PEERS_MAX: usize = 100;

/// One input.
pub fn run(bytes: &[u8]) {
    if let Ok(handshake) = ExtHandshake::parse(bytes) {
        self::handshake(handshake);
    }
    if let Ok(message) = MetadataMessage::parse(bytes) {
        metadata(bytes, message);
    }
    if let Ok(pex) = Pex::parse(bytes) {
        assert!(pex.added.len() <= 2 * PEERS_MAX && pex.dropped.len() <= 2 * PEERS_MAX);
        let mut written = Vec::new();
        pex.encode(&mut written);
        assert_eq!(Pex::parse(&written), Ok(pex));
    }
}

fn handshake(mut handshake: ExtHandshake) {
    if let Some(client) = handshake.client.take() {
        // What is no UTF-8 grows to a sign of three bytes.
        assert!(client.len() <= 3 * CLIENT_MAX && !client.contains(char::is_control));
    }
    assert_ne!(handshake.listen_port, Some(0));
    let mut written = Vec::new();
    handshake.encode(&mut written);
    assert_eq!(ExtHandshake::parse(&written), Ok(handshake));
}

fn metadata(bytes: &[u8], message: MetadataMessage<'_>) {
    let mut written = Vec::new();
    message.encode(&mut written);
    match message {
        MetadataMessage::Unknown => return assert!(written.is_empty()),
        MetadataMessage::Data { total_size, data, .. } => {
            assert!(bytes.ends_with(data));
            // No number says as much.
            if total_size.is_some_and(|size| i64::try_from(size).is_err()) {
                return;
            }
        }
        MetadataMessage::Request { .. } | MetadataMessage::Reject { .. } => {}
    }
    assert_eq!(MetadataMessage::parse(&written), Ok(message));
}
