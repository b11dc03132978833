//! What nodes send each other.

use kv_core::partition::Partition;
use kv_core::version::Version;

use crate::shard::Change;

/// A primary's stream to one other node. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// Grows each time the primary's process starts.
    pub incarnation: u64,
    /// Grows with each session of that process.
    pub number: u64,
}

/// Something that one node sends another one. Some may be lost, and then all that was sent before the next is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<K, R> {
    /// The sender lives, and has the layout of this epoch installed.
    Beacon {
        /// The epoch.
        epoch: u64,
        /// When it was sent, by the sender's clock.
        sent_at: u64,
    },
    /// The answer to a beacon: a lease.
    Grant {
        /// The epoch of the layout that the granter has installed.
        epoch: u64,
        /// What the beacon says.
        sent_at: u64,
    },
    /// A session begins.
    Open {
        /// The session.
        session: Session,
    },
    /// The receiver is ready for it.
    Opened {
        /// The session.
        session: Session,
        /// The highest number of a write of the sender's that it has heard of.
        held: u64,
    },
    /// A piece of a stream.
    Stream {
        /// The session.
        session: Session,
        /// Its number in the session, from 1 on.
        position: u64,
        /// The epoch of the layout that the sender has installed.
        epoch: u64,
        /// The number of the last write that the sender has numbered.
        sequence: u64,
        /// What it has, in this order.
        items: Vec<Item<K, R>>,
    },
    /// All of a session up to a position is durable, except for what is refused.
    Ack {
        /// The session.
        session: Session,
        /// The position of the acknowledgement before. Where the primary has not got that, its answers are lost.
        after: u64,
        /// The position.
        position: u64,
        /// What came of what it has, where that is not simply taken.
        answers: Vec<Answer>,
    },
    /// The receiver does not have this session, or misses something of it.
    Closed {
        /// The session.
        session: Session,
    },
}

/// Something in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<K, R> {
    /// Records that were written, or are newer than what the receiver has.
    Changes {
        /// Their partition.
        partition: Partition,
        /// The records.
        changes: Vec<Change<K, R>>,
    },
    /// From behind one key up to another one, a partition has exactly these records.
    Part {
        /// The partition.
        partition: Partition,
        /// The one key; from the start where there is none.
        behind: Option<K>,
        /// The other one; to the end where there is none.
        to: Option<K>,
        /// The records.
        records: Vec<Change<K, R>>,
    },
    /// What the sender's copy of a partition comes to here.
    Offer {
        /// The partition.
        partition: Partition,
        /// The digest.
        digest: u128,
    },
}

impl<K, R> Item<K, R> {
    /// The partition that it belongs to.
    #[must_use]
    pub fn partition(&self) -> Partition {
        match self {
            Self::Changes { partition, .. }
            | Self::Part { partition, .. }
            | Self::Offer { partition, .. } => *partition,
        }
    }
}

/// What came of something in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A partition is equal to what was offered.
    Equal {
        /// The partition.
        partition: Partition,
        /// The position of the offer.
        at: u64,
    },
    /// It is not.
    Differs {
        /// The partition.
        partition: Partition,
        /// The position of the offer.
        at: u64,
        /// The newest version in it.
        newest: Option<Version>,
    },
    /// Something of a partition was refused: its row has changed since, or the sender is not its primary.
    Refused {
        /// The partition.
        partition: Partition,
        /// The epoch of the layout that says so.
        epoch: u64,
    },
}
