//! Swarms of a hundred thousand, piece by piece.

mod bits;
mod draw;
mod uplink;

pub use bits::{lowest, random};
pub use draw::Draw;
