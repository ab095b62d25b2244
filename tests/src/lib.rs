//! What the tests share: content to move, networks to move it over, and the real programs that
//! Trackerless has to get along with.
//!
//! Every helper here panics with a sentence that says what was awaited or missing: a test's
//! failure is read by people. Processes and networks end when their values are dropped.

pub mod allocations;
pub mod aria2;
pub mod bare;
pub mod call_order;
pub mod cli;
pub mod content;
pub mod delayed;
pub mod driven;
pub mod hand_made;
pub mod http;
pub mod journal;
pub mod json_page;
pub mod lan;
pub mod libtorrent;
pub mod lossy;
pub mod matrix;
pub mod network;
pub mod other_dht;
pub mod ours;
pub mod pieces;
pub mod ports;
pub mod process;
pub mod programs;
pub mod qbittorrent;
pub mod relay;
pub mod rqbit;
pub mod small_disk;
pub mod strace;
pub mod transmission;
pub mod wait;
