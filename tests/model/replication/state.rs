//! A state of a replicated partition with one key: its row in Consul, its nodes, the links between them.

use kv_core::copies::lease::Granted;
use kv_core::copies::session::View;
use kv_core::copies::term::Term;
use kv_core::copies::{Positions, Row};

pub(super) const NODES: usize = 3;

/// The layout in Consul, as far as it concerns the partition. Node numbers are positions in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Document {
    pub(super) epoch: u64,
    pub(super) row: Row,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Power {
    On,
    Off,
    /// Its directory is gone for good.
    Lost,
}

/// A write that the primary has carried out, and not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) value: u8,
    /// What the key was before it.
    pub(super) before: u8,
    /// The copies that have said that they have it.
    pub(super) acknowledged: Positions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) power: Power,
    /// What it has installed, durably.
    pub(super) view: View,
    /// What it had installed before; only for a mutant.
    pub(super) view_before: View,
    /// The key's value: the number of the write that it is from.
    pub(super) value: u8,
    /// The highest number of a write that it holds of the primary that it has.
    pub(super) held: u8,
    pub(super) term: Option<Term>,
    pub(super) pending: Option<Pending>,
    /// What it has granted to each other node.
    pub(super) granted: [Granted; NODES],
}

/// Something on its way from a primary to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    /// Whether it is all that the primary has, rather than a write.
    pub(super) is_everything: bool,
    pub(super) value: u8,
    pub(super) epoch: u64,
}

/// What goes from one node, as primary, to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// Whether the primary has a session.
    pub(super) is_open: bool,
    /// Whether the copy has one.
    pub(super) is_taken: bool,
    pub(super) messages: [Option<Message>; 2],
    /// What the copy has acknowledged, on its way back.
    pub(super) acknowledgements: [Option<Message>; 2],
    /// The messages that are not acknowledged.
    pub(super) owed: u8,
    /// The lease that the primary holds from the copy: the epoch that this had installed.
    pub(super) lease: Option<u64>,
}

/// How often things may yet go wrong, and how much is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(super) writes: u8,
    pub(super) crashes: u8,
    /// Sessions that break.
    pub(super) breaks: u8,
    /// Nodes that run, and are evicted.
    pub(super) false_evictions: u8,
    /// Directories that are lost for good.
    pub(super) losses: u8,
    /// Directories that are put back to how they were at the beginning.
    pub(super) put_backs: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) document: Document,
    pub(super) nodes: [Node; NODES],
    /// By the primary's number, then the copy's.
    pub(super) links: [[Link; NODES]; NODES],
    /// Compare-and-sets on their way, by the epoch that they compare with, and then in the order of their rows.
    pub(super) proposals: [Option<Document>; 2],
    /// The number of the next write.
    pub(super) next: u8,
    /// The newest write that was acknowledged.
    pub(super) acknowledged: u8,
    /// The newest write that was acknowledged or read: no later read gives an older one.
    pub(super) seen: u8,
    /// Whether a read has given an older one.
    pub(super) has_gone_back: bool,
    pub(super) budget: Budget,
}

/// Puts something into the first free place; whether there was one.
pub(super) fn push<T>(places: &mut [Option<T>; 2], it: T) -> bool {
    match places.iter_mut().find(|place| place.is_none()) {
        Some(place) => {
            *place = Some(it);
            true
        }
        None => false,
    }
}

/// Takes what came first.
pub(super) fn pop<T>(places: &mut [Option<T>; 2]) -> Option<T> {
    let first = places[0].take();
    places.swap(0, 1);
    first
}

impl State {
    /// A cluster with as many copies, all in sync and up, none of which has been written to.
    pub(super) fn first(copies: usize, budget: Budget) -> Self {
        let numbers: Vec<u16> = (0..copies as u16).collect();
        let row = Row::whole(&numbers).expect("there are some, and not too many");
        let view = View { row, since: 1, installed: 1 };
        let node = |number: usize| Node {
            power: if number < copies { Power::On } else { Power::Lost },
            view,
            view_before: view,
            value: 0,
            held: 0,
            term: (number == 0).then(|| Term::begin(row, None)),
            pending: None,
            granted: [Granted::Nothing; NODES],
        };
        Self {
            document: Document { epoch: 1, row },
            nodes: std::array::from_fn(node),
            links: [[Link::default(); NODES]; NODES],
            proposals: [None; 2],
            next: 1,
            acknowledged: 0,
            seen: 0,
            has_gone_back: false,
            budget,
        }
    }

    pub(super) fn is_on(&self, number: usize) -> bool {
        self.nodes[number].power == Power::On
    }

    /// Ends the sessions in which a node is the primary.
    pub(super) fn end_sessions_of(&mut self, primary: usize) {
        for link in &mut self.links[primary] {
            link.is_open = false;
            link.acknowledgements = [None; 2];
            link.owed = 0;
        }
    }

    /// Ends a session at both ends.
    pub(super) fn end_session(&mut self, primary: usize, copy: usize) {
        let link = &mut self.links[primary][copy];
        *link = Link { lease: link.lease, ..Link::default() };
    }
}
