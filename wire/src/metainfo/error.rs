//! Why a torrent is not taken.

use std::fmt;

use crate::bencode;

/// Why a torrent is not taken, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetainfoError {
    /// It is not bencode.
    Bencode(bencode::Error),
    /// A key is missing, or its value is of the wrong type.
    Missing(&'static str),
    /// A number is out of its range.
    Range(&'static str),
    /// Number of piece hashes and length do not fit.
    PieceCount,
    /// A path would lead out of the download folder.
    UnsafePath(String),
    /// More files end up under one name than there are new names for.
    PathClash(String),
    /// All paths together are longer than those of any torrent that we take.
    LongPaths,
    /// It has only a v2 part (BEP 52).
    OnlyV2,
}

impl fmt::Display for MetainfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetainfoError::Bencode(error) => write!(f, "not a torrent: {error}"),
            MetainfoError::Missing(key) => {
                write!(f, "not a torrent: `{key}` is missing or not what it should be")
            }
            MetainfoError::Range(key) => write!(f, "the torrent's `{key}` is out of range"),
            MetainfoError::PieceCount => {
                f.write_str("the torrent's piece hashes do not fit its length")
            }
            MetainfoError::UnsafePath(path) => {
                write!(f, "the torrent has an unsafe path: {path:?}")
            }
            MetainfoError::PathClash(path) => {
                write!(f, "the torrent has too many files of one name: {path:?}")
            }
            MetainfoError::LongPaths => {
                f.write_str("the torrent's paths take more memory than those of any torrent may")
            }
            MetainfoError::OnlyV2 => f.write_str("v2 torrents (BEP 52) are not supported yet"),
        }
    }
}

impl std::error::Error for MetainfoError {}

impl From<bencode::Error> for MetainfoError {
    fn from(error: bencode::Error) -> MetainfoError {
        MetainfoError::Bencode(error)
    }
}
