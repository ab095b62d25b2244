//! What a run is given besides its options.

use dht::SharedConfig;
use wire::time::Time;

use crate::{Capture, DhtHost, HostId};

/// What a run is given besides its options: policies and numbers of one's own, and looks into it. The
/// default gives what ships, and looks at nothing. A host may be made several times, as when it leaves
/// and another comes.
pub struct Setup<'a> {
    /// The numbers and the policy of a DHT node, where nothing else runs on its host and the scenario does
    /// not say that they are those of a machine of its own. Nodes that have them
    /// in common get clones of one.
    pub nodes: Box<dyn Fn(HostId) -> SharedConfig + 'a>,
    /// The numbers and the policies of a peer of a swarm.
    pub peers: Box<dyn Fn(HostId) -> client::Config + 'a>,
    /// Hosts that are described, and when. It changes nothing.
    pub looks: Vec<(Time, HostId)>,
    /// What one host sends and receives from the start on. It changes nothing.
    pub capture: Option<Capture>,
    /// Whether the report has who was told what, for whoever has real programs do the same.
    pub tells: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            nodes: Box::new(|_| DhtHost::shipped()),
            peers: Box::new(|_| client::Config::default()),
            looks: Vec::new(),
            capture: None,
            tells: false,
        }
    }
}
