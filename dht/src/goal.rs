//! What a lookup is for.

use crate::{LookupId, SocketId};

/// Why a lookup runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// To become part of the DHT, with the id that we have at a socket.
    Bootstrap(SocketId),
    /// To find those who came close to that id since.
    Neighbours(SocketId),
    /// To hear of a bucket of the table of a socket.
    Refresh(SocketId),
    /// To fill one: it ends when that is full.
    Fill(SocketId),
    FindNode,
    GetPeers,
    /// To learn how many nodes tell a peer with this port.
    CountPeer {
        port: u16,
    },
    /// `too`: by a further socket, of which nobody hears.
    Announce {
        port: Option<u16>,
        seed: bool,
        too: bool,
    },
    Scrape,
    /// To find nodes around the target of another lookup.
    Around {
        parent: LookupId,
    },
    /// To hear of torrents.
    Sample,
    Get {
        seq: Option<i64>,
    },
    /// To learn how many nodes have the item.
    CountItem,
    Put {
        cas: Option<i64>,
    },
}

impl Goal {
    /// Whether an item is stored or looked for.
    pub(crate) fn is_of_items(self) -> bool {
        matches!(self, Goal::Get { .. } | Goal::CountItem | Goal::Put { .. })
    }

    /// Whether it makes the node known to its neighbours.
    pub(crate) fn joins(self) -> bool {
        matches!(self, Goal::Bootstrap(_) | Goal::Neighbours(_))
    }

    /// Whether it is an announce by a further socket.
    pub(crate) fn is_further(self) -> bool {
        matches!(self, Goal::Announce { too: true, .. })
    }

    /// Whether something is stored at the end: better at the right nodes than soon.
    pub(crate) fn stores(self) -> bool {
        matches!(self, Goal::Announce { .. } | Goal::Put { .. })
    }
}
