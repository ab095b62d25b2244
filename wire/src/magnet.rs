//! Magnet links (BEP 9, "magnet URI format"; BEP 53, `so`).

use std::fmt;

use data_encoding::BASE32_NOPAD;

use crate::id::{Id, InfoHash};

/// Longest link read, in bytes; tracker lists make some long.
const LINK_MAX: usize = 64 << 10;
/// Peers taken from one link.
const PEERS_MAX: usize = 100;
/// Files named by `so` at most.
const SELECT_MAX: usize = 100_000;

/// What a magnet link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// The torrent (`xt=urn:btih:`). Of several the first.
    pub info_hash: InfoHash,
    /// Suggested name (`dn`).
    pub name: Option<String>,
    /// Peers to ask: host and port (`x.pe`).
    pub peers: Vec<(String, u16)>,
    /// Indices of the files wanted (`so`); None: all.
    pub select: Option<Vec<u32>>,
    /// Trackers named (`tr`), which are not used.
    pub trackers_ignored: usize,
}

/// Why a text is no magnet link or info-hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MagnetError {
    /// Neither a magnet link nor an info-hash.
    NotAMagnet,
    /// No `xt=urn:btih:`.
    NoInfoHash,
    /// An info-hash of wrong length or digits.
    BadInfoHash,
    /// Only a v2 info-hash (`urn:btmh:`, BEP 52).
    OnlyV2,
    /// Too long.
    TooLong,
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MagnetError::NotAMagnet => "neither a magnet link nor an info-hash",
            MagnetError::NoInfoHash => "the magnet link names no torrent (xt=urn:btih:)",
            MagnetError::BadInfoHash => "an info-hash has 40 hexadecimal or 32 base32 digits",
            MagnetError::OnlyV2 => "v2 torrents (urn:btmh:, BEP 52) are not supported yet",
            MagnetError::TooLong => "the magnet link is too long",
        })
    }
}

impl std::error::Error for MagnetError {}

impl Magnet {
    /// A link to a torrent.
    pub fn new(info_hash: InfoHash, name: Option<String>) -> Magnet {
        Magnet { info_hash, name, peers: Vec::new(), select: None, trackers_ignored: 0 }
    }

    /// Reads what a user types: a magnet link, or an info-hash alone.
    ///
    /// # Errors
    /// It is neither, or one that we do not take.
    pub fn from_user(text: &str) -> Result<Magnet, MagnetError> {
        let text = text.trim();
        match text.get(..8) {
            Some(scheme) if scheme.eq_ignore_ascii_case("magnet:?") => Magnet::parse(text),
            _ if matches!(text.len(), 32 | 40) => {
                info_hash(text).map(|hash| Magnet::new(hash, None)).ok_or(MagnetError::BadInfoHash)
            }
            _ => Err(MagnetError::NotAMagnet),
        }
    }

    /// Reads a magnet link.
    ///
    /// # Errors
    /// It is none, or one that we do not take.
    pub fn parse(link: &str) -> Result<Magnet, MagnetError> {
        if link.len() > LINK_MAX {
            return Err(MagnetError::TooLong);
        }
        let query = match link.split_at_checked(8) {
            Some((scheme, query)) if scheme.eq_ignore_ascii_case("magnet:?") => query,
            _ => return Err(MagnetError::NotAMagnet),
        };
        let mut hash = None;
        let mut v2 = false;
        let mut magnet = Magnet::new(Id::ZERO, None);
        for (key, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            let value = percent_decode(value);
            // Several values of one key may be told apart by a number (`tr.1`).
            match key.to_ascii_lowercase().as_str() {
                key if key == "xt" || key.starts_with("xt.") => {
                    if let Some(text) = strip_prefix(&value, "urn:btih:") {
                        let read = info_hash(text).ok_or(MagnetError::BadInfoHash)?;
                        hash.get_or_insert(read);
                    } else if strip_prefix(&value, "urn:btmh:").is_some() {
                        v2 = true;
                    }
                }
                "dn" if magnet.name.is_none() => magnet.name = Some(value),
                "x.pe" if magnet.peers.len() < PEERS_MAX => magnet.peers.extend(peer(&value)),
                "so" => magnet.select = select(&value),
                key if key == "tr" || key.starts_with("tr.") => magnet.trackers_ignored += 1,
                _ => {}
            }
        }
        magnet.info_hash = match hash {
            Some(hash) => hash,
            None if v2 => return Err(MagnetError::OnlyV2),
            None => return Err(MagnetError::NoInfoHash),
        };
        Ok(magnet)
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        if let Some(name) = &self.name {
            write!(f, "&dn={}", percent_encode(name))?;
        }
        for (host, port) in &self.peers {
            match host.contains(':') {
                true => {
                    let host = percent_encode(host).replace("%3A", ":");
                    write!(f, "&x.pe=[{host}]:{port}")?;
                }
                false => write!(f, "&x.pe={}:{port}", percent_encode(host))?,
            }
        }
        Ok(())
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn info_hash(text: &str) -> Option<InfoHash> {
    match text.len() {
        40 => text.parse().ok(),
        32 => {
            let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
            Id::from_slice(&bytes)
        }
        _ => None,
    }
}

/// HOST:PORT, with a v6 host in brackets.
fn peer(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty() && host.len() <= 255).then(|| (host.to_string(), port))
}

/// Numbers of files and ranges of them, as in `0,2,4-9` (BEP 53), in order. None if that is malformed
/// or absurd.
pub fn select(text: &str) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || (last - first) as usize >= SELECT_MAX - out.len() {
            return None;
        }
        out.extend(first..=last);
    }
    out.sort_unstable();
    out.dedup();
    Some(out)
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|digits| {
            let mut value = [0];
            hex::decode_to_slice(digits, &mut value).ok().map(|()| value[0])
        });
        out.push(match (escaped, byte) {
            (Some(value), _) => value,
            (None, b'+') => b' ',
            (None, byte) => byte,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "4a533d47ec9c7d95b1ad75f576cffc641853b750";
    const BASE32: &str = "JJJT2R7MTR6ZLMNNOX2XNT74MQMFHN2Q";

    #[test]
    fn both_spellings_of_an_info_hash() {
        for text in [HEX, &HEX.to_uppercase(), BASE32, &BASE32.to_lowercase()] {
            assert_eq!(Magnet::from_user(text).unwrap().info_hash.to_string(), HEX);
            let link = format!("MAGNET:?xt=urn:BTIH:{text}");
            assert_eq!(Magnet::from_user(&link).unwrap().info_hash.to_string(), HEX);
        }
    }

    #[test]
    fn all_that_a_link_says() {
        let link = format!(
            "magnet:?dn=a%20b+c%zz&tr=udp%3A%2F%2Fx&tr.1=y&x.pe=1.2.3.4:5&x.pe=[::1]:6\
             &x.pe=host:7&x.pe=::1:8&x.pe=h:0&so=0,2,4-6&xt=urn:btih:{HEX}&xt=urn:btmh:1220aa&zz"
        );
        let magnet = Magnet::parse(&link).unwrap();
        assert_eq!(magnet.name.as_deref(), Some("a b c%zz"));
        assert_eq!(magnet.trackers_ignored, 2);
        let peer = |host: &str, port| (host.to_string(), port);
        assert_eq!(magnet.peers, [peer("1.2.3.4", 5), peer("::1", 6), peer("host", 7)]);
        assert_eq!(magnet.select, Some(vec![0, 2, 4, 5, 6]));
    }

    #[test]
    fn what_is_printed_reads_back() {
        let mut magnet = Magnet::new(HEX.parse().unwrap(), Some("é & =/x".into()));
        let hosts = ["::1", "h.example", "fe80::1%ee0", "a:&x.pe=b"];
        magnet.peers = hosts.iter().zip(1..).map(|(host, port)| (host.to_string(), port)).collect();
        assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
    }

    #[test]
    fn clear_refusals() {
        let long = format!("magnet:?xt=urn:btih:{HEX}&dn={}", "x".repeat(LINK_MAX));
        for (text, error) in [
            ("hello", MagnetError::NotAMagnet),
            ("magnet:?dn=x", MagnetError::NoInfoHash),
            ("magnet:?xt=urn:btih:abc", MagnetError::BadInfoHash),
            (&HEX.replace('4', "g"), MagnetError::BadInfoHash),
            ("magnet:?xt=urn:btmh:1220caf1", MagnetError::OnlyV2),
            (&long, MagnetError::TooLong),
        ] {
            assert_eq!(Magnet::from_user(text), Err(error), "{text}");
        }
        assert_eq!(select("0-4294967295"), None);
        assert_eq!(select("5-2"), None);
    }
}
