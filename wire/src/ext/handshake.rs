//! The extension handshake (BEP 10, "handshake message").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bencode::{Encoder, Error, Limits, Value};

/// Longest program name kept, in bytes.
const CLIENT_MAX: usize = 100;

/// What a peer tells of itself. All of it may be missing: a handshake that comes later changes only
/// what it names of the ids, and id 0 switches an extension off (BEP 10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtHandshake {
    /// Its id for `ut_metadata` (BEP 9).
    pub metadata_id: Option<u8>,
    /// Its id for `ut_pex` (BEP 11).
    pub pex_id: Option<u8>,
    /// Its id for `lt_donthave` (BEP 54).
    pub dont_have_id: Option<u8>,
    /// Bytes of the info dict (BEP 9).
    pub metadata_size: Option<u64>,
    /// Requests that it queues.
    pub reqq: Option<u32>,
    /// Its program.
    pub client: Option<String>,
    /// Where it takes connections.
    pub listen_port: Option<u16>,
    /// Our address as it sees it.
    pub your_ip: Option<IpAddr>,
    /// It wants nothing (BEP 21).
    pub upload_only: bool,
}

impl ExtHandshake {
    /// Reads a handshake. Entries of wrong type or range count as missing.
    ///
    /// # Errors
    /// It is no bencoded dict.
    pub fn parse(payload: &[u8]) -> Result<ExtHandshake, Error> {
        let (dict, _) = Value::parse_prefix(payload, Limits::EXTENSION)?;
        if dict.as_dict().is_none() {
            return Err(Error::Unexpected(0));
        }
        let int = |key: &[u8]| dict.get(key).and_then(|value| value.as_int());
        let ids = dict.get(b"m");
        let id = |name: &[u8]| {
            let id = ids.and_then(|ids| ids.get(name)).and_then(|id| id.as_int())?;
            u8::try_from(id).ok()
        };
        Ok(ExtHandshake {
            metadata_id: id(b"ut_metadata"),
            pex_id: id(b"ut_pex"),
            dont_have_id: id(b"lt_donthave"),
            metadata_size: int(b"metadata_size").and_then(|size| u64::try_from(size).ok()),
            reqq: int(b"reqq").and_then(|reqq| u32::try_from(reqq).ok()),
            client: dict.get(b"v").and_then(|v| v.as_bytes()).map(|v| {
                let head = &v[..v.len().min(CLIENT_MAX)];
                String::from_utf8_lossy(head).replace(char::is_control, "?")
            }),
            listen_port: int(b"p").and_then(|p| u16::try_from(p).ok()).filter(|&p| p != 0),
            your_ip: dict.get(b"yourip").and_then(|ip| ip.as_bytes()).and_then(ip),
            upload_only: int(b"upload_only").is_some_and(|only| only != 0),
        })
    }

    /// Appends the handshake.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Encoder::new(out).dict(|dict| {
            dict.key(b"m").dict(|ids| {
                let names: [(&[u8], Option<u8>); 3] = [
                    (b"lt_donthave", self.dont_have_id),
                    (b"ut_metadata", self.metadata_id),
                    (b"ut_pex", self.pex_id),
                ];
                for (name, id) in names {
                    if let Some(id) = id {
                        ids.key(name).int(i64::from(id));
                    }
                }
            });
            if let Some(size) = self.metadata_size {
                dict.key(b"metadata_size").int(i64::try_from(size).unwrap_or(i64::MAX));
            }
            if let Some(port) = self.listen_port {
                dict.key(b"p").int(i64::from(port));
            }
            if let Some(reqq) = self.reqq {
                dict.key(b"reqq").int(i64::from(reqq));
            }
            if self.upload_only {
                dict.key(b"upload_only").int(1);
            }
            if let Some(client) = &self.client {
                dict.key(b"v").bytes(client.as_bytes());
            }
            match self.your_ip {
                Some(IpAddr::V4(ip)) => dict.key(b"yourip").bytes(&ip.octets()),
                Some(IpAddr::V6(ip)) => dict.key(b"yourip").bytes(&ip.octets()),
                None => {}
            }
        });
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|ip| Ipv4Addr::from(ip).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|ip| Ipv6Addr::from(ip).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let whole = ExtHandshake {
            metadata_id: Some(1),
            pex_id: Some(2),
            dont_have_id: Some(7),
            metadata_size: Some(31_235),
            reqq: Some(500),
            client: Some("Trackerless 0.1.0".into()),
            listen_port: Some(6881),
            your_ip: Some([1, 2, 3, 4].into()),
            upload_only: true,
        };
        for handshake in [whole, ExtHandshake::default()] {
            let mut out = Vec::new();
            handshake.encode(&mut out);
            assert!(Value::parse(&out, Limits::EXTENSION).unwrap().is_canonical());
            assert_eq!(ExtHandshake::parse(&out), Ok(handshake));
        }
    }

    #[test]
    fn entries_out_of_range_count_as_missing() {
        let odd = b"d1:md11:ut_metadatai-1e6:ut_pexi256ee13:metadata_sizei-1e1:pi65536e4:reqqi-5e\
            1:vi5e6:yourip3:abce";
        assert_eq!(ExtHandshake::parse(odd), Ok(ExtHandshake::default()));
        assert_eq!(ExtHandshake::parse(b"d1:mi5ee"), Ok(ExtHandshake::default()));
        assert!(ExtHandshake::parse(b"le").is_err() && ExtHandshake::parse(b"").is_err());
        let long = format!("d1:v300:{}e", "a\n".repeat(150));
        let client = ExtHandshake::parse(long.as_bytes()).unwrap().client.unwrap();
        assert!(client.len() == CLIENT_MAX && !client.contains('\n'));
    }
}
