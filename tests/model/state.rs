//! A state of the whole cluster, as small as it can be.

use kv_core::attempt::Attempt;
use kv_core::version::Version;

use crate::catalogue::{InstalledId, LayoutId};

pub(crate) const NODES: usize = 3;
pub(crate) const KEYS: usize = 2;
pub(crate) const MOVERS: usize = 2;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The layout in Consul.
    pub(crate) document: LayoutId,
    pub(crate) nodes: [Node; NODES],
    pub(crate) movers: [Mover; MOVERS],
    pub(crate) clients: Vec<Client>,
    /// Requests on their way whose senders wait no more.
    pub(crate) late: Vec<Request>,
    /// Each key's last write, by whichever node took it.
    pub(crate) truth: [Option<Value>; KEYS],
    pub(crate) budget: Budget,
    /// Broken promises so far, a bit for each [`Flaw`].
    pub(crate) flaws: u8,
}

/// A value with its version. Every write has a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) value: u8,
    pub(crate) version: Version,
}

/// What lies on a disk of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    #[default]
    Absent,
    Value(Value),
    Tombstone(Version),
}

/// A node: its disk, and what it knows while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) is_up: bool,
    /// On the disk: the installed layout.
    pub(crate) recorded: InstalledId,
    /// In memory: the layout by which requests are judged.
    pub(crate) guard: InstalledId,
    /// Whether the places that records will be copied to are clear, so that the status shows the guard's
    /// epoch.
    pub(crate) shows_epoch: bool,
    pub(crate) records: [Record; KEYS],
    /// The sequence number given last, per key.
    pub(crate) sequences: [u8; KEYS],
    /// What the disk had before a change that is not durable; only where that rule is broken.
    pub(crate) undurable: Option<(u8, Record)>,
}

/// A mover. What it does, it does under the layout that Consul has at that moment: were that another
/// one than it saw, its compare-and-set would fail, and what it found out would be of no use. Only a
/// COPY that it has sent can be delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mover {
    pub(crate) copy: Option<Copied>,
    /// The layout that it saw last; only where it does not compare and set.
    pub(crate) seen: LayoutId,
    /// Whether it has ever verified a window; only where it does not forget.
    pub(crate) verified: bool,
}

/// A record on its way from its source to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Copied {
    pub(crate) key: u8,
    /// The layout under which it is copied.
    pub(crate) layout: LayoutId,
    pub(crate) version: Version,
    /// `None` in a tombstone.
    pub(crate) value: Option<u8>,
}

/// A client, which carries out its program of operations one after another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    /// The layout that it knows, where it may yet read by it.
    pub(crate) view: LayoutId,
    /// The operation that it is at.
    pub(crate) at: u8,
    /// What it read last; `None` if there was no record, or if it makes no use of it.
    pub(crate) read: Option<Value>,
    /// What it waits for.
    pub(crate) waits: Option<Waiting>,
    /// Which of its writes that are still under way have taken effect, as bits.
    pub(crate) effective: u8,
}

/// A client in the middle of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    pub(crate) attempt: Attempt,
    pub(crate) request: Request,
    /// The values that a read may return: those that the key has had since, as bits; the lowest is "no
    /// record".
    pub(crate) possible: u32,
    /// The guard by which a read was admitted; only where the rule is broken that it looks again.
    pub(crate) admitted: Option<InstalledId>,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) client: u8,
    pub(crate) at: u8,
    /// The number of the node that is asked.
    pub(crate) node: u8,
    /// The layout under which it is made.
    pub(crate) layout: LayoutId,
    /// What its client has read before.
    pub(crate) read: Option<Value>,
    pub(crate) ask: Ask,
}

/// A request's operation, in small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Ask {
    Operation,
    SourceRead,
    Promotion(Version, Option<u8>),
}

/// How often things may yet happen that could happen without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Nodes that are killed.
    pub(crate) crashes: u8,
    /// Clients that wait no more for an answer.
    pub(crate) timeouts: u8,
    /// Rebalances that are begun.
    pub(crate) begins: u8,
    /// Windows that are taken back.
    pub(crate) retracts: u8,
    /// Rebalances that are turned back.
    pub(crate) turns: u8,
    /// Consuls that lose everything.
    pub(crate) losses: u8,
    /// Data directories that are put back to how they were.
    pub(crate) put_backs: u8,
    /// Layouts that are published though no step led to them.
    pub(crate) forgeries: u8,
    /// Layouts that an operator publishes to put that right.
    pub(crate) corrections: u8,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flaw {
    /// A read returned something that the key was not at any moment of it.
    Read,
    /// A condition or the answer of a DELETE is wrong.
    Judgement,
    /// A write took effect twice.
    Twice,
    /// Something was done under an assignment of the partition that is not the request's.
    Outdated,
    /// A client was answered something that it does not understand.
    Answer,
}

impl Record {
    /// The value, as far as there is one.
    pub(crate) fn value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Tombstone(_) => None,
        }
    }
}

impl State {
    /// Notes that this has happened.
    pub(crate) fn blame(&mut self, flaw: Flaw) {
        self.flaws |= 1 << flaw as u8;
    }

    /// Whether this has never happened.
    pub(crate) fn is_without(&self, flaw: Flaw) -> bool {
        self.flaws & 1 << flaw as u8 == 0
    }
}
