//! What a researcher may replace in a lookup: whom it asks next, how many at once, and when it ends.

use std::fmt;
use std::net::SocketAddr;

use wire::Id;
use wire::NodeId;

use crate::candidates::{Candidate, Candidates, Key, State};
use crate::lookup::Rules;

/// How lookups go on, in place of the rule that ships: [`crate::SharedConfig::with_lookups`].
///
/// It is asked again and again until it waits or ends, and again whenever anything has happened: an
/// answer, a failure, a query that is late. All nodes of a process share it, on several threads, so a
/// decision must follow from the view alone.
///
/// The node keeps to its bounds whatever it says: nobody is asked twice in a lookup, and at most twice
/// [`crate::Config::lookup_candidates_max`] are asked. It decides on the first path; those beside it
/// ([`crate::Config::lookup_paths`]), and whom a lookup that was surrounded asks around, are the node's.
pub trait LookupPolicy: fmt::Debug + Send + Sync {
    /// What to do now.
    fn next(&self, lookup: &LookupView<'_>) -> Choice;
}

/// What a policy decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Choice {
    /// Ask this candidate, which is [`Stage::New`]; another ends the lookup.
    Ask(Key),
    /// Wait for what is asked. If nothing is, the lookup ends.
    Wait,
    /// The lookup ends with the k closest that have answered.
    Done,
}

/// How far it is with a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It was not asked.
    New,
    /// It was asked, and may answer in time.
    Asked,
    /// It is late ([`crate::Config::late_percent`]): another one may be asked in its place.
    Late,
    /// It is so late ([`crate::Config::over_percent`]) that the lookup need not wait for it.
    Over,
    /// It answered.
    Answered,
    /// It will not answer.
    Failed,
}

/// A node that a lookup heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Names it in [`Choice::Ask`].
    pub key: Key,
    /// How far it is from the target (XOR); of a node whose id nobody knows, as of a bootstrap contact,
    /// nothing or all ones: it is asked before all others, or after them.
    pub distance: Id,
    /// Its id; `None` if nobody knows it yet.
    pub id: Option<NodeId>,
    /// Where it is.
    pub addr: SocketAddr,
    /// How far it is with it.
    pub stage: Stage,
    /// Queries one after the other that lead to it, its own included.
    pub hops: u32,
    /// Its usual round trip in milliseconds, if it is a contact of ours that answered before.
    pub rtt_ms: Option<u16>,
}

/// A lookup as a policy sees it.
#[derive(Clone, Copy)]
pub struct LookupView<'a> {
    /// The key that is looked for.
    pub target: &'a Id,
    /// The node's numbers for it. Of the paths beside the first, and of what is not believed in, the
    /// node takes care.
    pub rules: &'a Rules,
    /// Nobody answered at all: the node would wait on for those that are [`Stage::Over`].
    pub patient: bool,
    /// Queries so far.
    pub asked: u32,
    /// Answers so far.
    pub answered: u32,
    /// The last answer brought nobody new among the k closest.
    pub converged: bool,
    candidates: &'a Candidates,
}

impl<'a> LookupView<'a> {
    pub(crate) fn new(
        candidates: &'a Candidates,
        target: &'a Id,
        rules: &'a Rules,
        patient: bool,
        (asked, answered, converged): (u32, u32, bool),
    ) -> LookupView<'a> {
        LookupView { target, rules, patient, asked, answered, converged, candidates }
    }

    /// Whom it heard of, closest first.
    pub fn heard(&self) -> impl Iterator<Item = Heard> + use<'a> {
        let (target, split) = (*self.target, self.candidates.split);
        let own = self.candidates.list.iter().filter(move |c| !split || c.path == 0);
        own.map(move |candidate| heard(candidate, &target))
    }

    /// Queries that are in time: asked, not answered, and not late.
    pub fn in_time(&self) -> usize {
        self.heard().filter(|node| node.stage == Stage::Asked).count()
    }
}

fn heard(candidate: &Candidate, target: &Id) -> Heard {
    let stage = match candidate.state {
        State::New => Stage::New,
        State::Asked { .. } => Stage::Asked,
        State::Late { .. } => Stage::Late,
        State::Over => Stage::Over,
        State::Answered => Stage::Answered,
        State::Failed => Stage::Failed,
    };
    Heard {
        key: candidate.key,
        distance: candidate.distance,
        id: candidate.known.then(|| candidate.distance.distance(target)),
        addr: candidate.addr,
        stage,
        hops: candidate.hops,
        rtt_ms: candidate.rtt_ms,
    }
}
