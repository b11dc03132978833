//! A primary's stream to one other node, and how that node's copies are made equal to the primary's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kv_core::partition::Partition;
use kv_core::version::Version;

use crate::limits::{
    CATCHING_UP_BYTES_MAX, OFFERS_PER_MESSAGE, OPENING_MS, PART_BYTES, UNDER_WAY_BYTES_MAX,
};
use crate::message::{Answer, Item, Message, Session};
use crate::shard::{Part, Shard};

/// The stream. It is open once the other node has said that it is ready for it.
#[derive(Debug)]
pub(crate) struct Stream<S: Shard> {
    session: Session,
    opened_at: u64,
    is_open: bool,
    sent: u64,
    acked: u64,
    /// What is not acknowledged: the position, the bytes, and when it was sent.
    under_way: VecDeque<(u64, usize, u64)>,
    under_way_bytes: usize,
    /// How far the copies are that are not equal.
    unequal: BTreeMap<Partition, Progress<S::Key>>,
    /// Those of them that are offered next, and those of which records are being sent.
    waiting: BTreeSet<Partition>,
    sending: BTreeSet<Partition>,
}

/// How far a copy is that is not equal.
#[derive(Debug)]
enum Progress<K> {
    /// It is offered next.
    Waits(Sent),
    /// It was offered at this position, and the answer is not there.
    Offered(Sent, u64),
    /// Records are being sent: those behind this key next.
    Sends(Sent, Option<K>),
    /// The other node has a newer layout, in which the row is another one: this one waits for it.
    Refused,
}

/// What was sent in this session to make a copy equal.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Nothing,
    /// What is newer than this version.
    Newer(Version),
    Everything,
}

/// What a message of a stream says apart from its items, and when it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heading {
    pub(crate) now: u64,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

/// What an answer says of the other node's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equality {
    Equal(Partition),
    Unequal(Partition),
}

impl<S: Shard> Stream<S> {
    /// A stream that is about to begin at `now`.
    pub(crate) fn new(session: Session, now: u64) -> Self {
        Self {
            session,
            opened_at: now,
            is_open: false,
            sent: 0,
            acked: 0,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            unequal: BTreeMap::new(),
            waiting: BTreeSet::new(),
            sending: BTreeSet::new(),
        }
    }

    pub(crate) fn session(&self) -> Session {
        self.session
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Whether the other node has acknowledged all that was sent.
    pub(crate) fn owes_nothing(&self) -> bool {
        self.is_open && self.acked == self.sent
    }

    /// For how long the other node has owed an acknowledgement.
    pub(crate) fn owes_for(&self, now: u64) -> u64 {
        self.under_way.front().map_or(0, |(_, _, sent_at)| now.saturating_sub(*sent_at))
    }

    /// Whether more is under way than foreground writes may add to.
    pub(crate) fn is_full(&self) -> bool {
        self.under_way_bytes >= UNDER_WAY_BYTES_MAX
    }

    /// Whether the other node has not answered that it is ready for too long.
    pub(crate) fn is_stuck(&self, now: u64) -> bool {
        !self.is_open && now >= self.opened_at + OPENING_MS
    }

    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    /// Has a partition offered, where that is not under way.
    pub(crate) fn offer(&mut self, partition: Partition) {
        if !self.unequal.contains_key(&partition) {
            self.offer_anew(partition);
        }
    }

    /// Has a partition offered anew, whatever was under way.
    pub(crate) fn offer_anew(&mut self, partition: Partition) {
        self.set(partition, Progress::Waits(Sent::Nothing));
    }

    fn set(&mut self, partition: Partition, progress: Progress<S::Key>) {
        let is_in = [
            (&mut self.waiting, matches!(progress, Progress::Waits(_))),
            (&mut self.sending, matches!(progress, Progress::Sends(..))),
        ];
        for (partitions, is_in) in is_in {
            if is_in {
                partitions.insert(partition)
            } else {
                partitions.remove(&partition)
            };
        }
        self.unequal.insert(partition, progress);
    }

    /// Has offered what was refused: another layout is installed by now.
    pub(crate) fn offer_refused(&mut self) {
        let unequal = self.unequal.iter();
        let refused = unequal.filter(|(_, it)| matches!(it, Progress::Refused));
        let refused: Vec<_> = refused.map(|(partition, _)| *partition).collect();
        refused.into_iter().for_each(|partition| self.offer_anew(partition));
    }

    /// Takes no more care of partitions but those that are `meant`.
    pub(crate) fn keep(&mut self, meant: impl Fn(Partition) -> bool) {
        self.unequal.retain(|partition, _| meant(*partition));
        self.waiting.retain(|partition| self.unequal.contains_key(partition));
        self.sending.retain(|partition| self.unequal.contains_key(partition));
    }

    /// Whether what is written to a partition has to be sent: otherwise a later offer has it.
    pub(crate) fn wants(&self, partition: Partition) -> bool {
        let progress = self.unequal.get(&partition);
        let is_offered_later =
            matches!(progress, Some(Progress::Waits(Sent::Nothing) | Progress::Refused));
        self.is_open && !is_offered_later
    }

    /// The message that has these items.
    pub(crate) fn message(
        &mut self,
        heading: Heading,
        items: Vec<Item<S::Key, S::Record>>,
    ) -> Message<S::Key, S::Record> {
        self.sent += 1;
        let bytes = length::<S>(&items);
        self.under_way.push_back((self.sent, bytes, heading.now));
        self.under_way_bytes += bytes;
        let Heading { epoch, sequence, .. } = heading;
        Message::Stream { session: self.session, position: self.sent, epoch, sequence, items }
    }

    /// Whether this is the next acknowledgement.
    pub(crate) fn is_next_ack(&self, after: u64, position: u64) -> bool {
        after == self.acked && (after..=self.sent).contains(&position)
    }

    /// Takes note of an acknowledgement, under the layout of the epoch `installed`. Returns what comes of its answers.
    pub(crate) fn ack(
        &mut self,
        position: u64,
        answers: &[Answer],
        installed: u64,
    ) -> Vec<Equality> {
        self.acked = position;
        while let Some((_, bytes, _)) = self.under_way.pop_front_if(|it| it.0 <= self.acked) {
            self.under_way_bytes -= bytes;
        }
        answers.iter().filter_map(|answer| self.answered(*answer, installed)).collect()
    }

    fn answered(&mut self, answer: Answer, installed: u64) -> Option<Equality> {
        match answer {
            Answer::Equal { partition, at } => {
                let Some(Progress::Offered(_, offered)) = self.unequal.get(&partition) else {
                    return None;
                };
                (*offered == at).then(|| {
                    self.unequal.remove(&partition);
                    Equality::Equal(partition)
                })
            }
            Answer::Differs { partition, at, newest } => {
                if let Some(Progress::Offered(sent, offered)) = self.unequal.get(&partition)
                    && *offered == at
                {
                    let next = match (sent, newest) {
                        (Sent::Nothing, Some(newest)) => Sent::Newer(newest),
                        _ => Sent::Everything,
                    };
                    self.set(partition, Progress::Sends(next, None));
                }
                None
            }
            Answer::Refused { partition, epoch } => {
                let is_behind = installed < epoch;
                let progress =
                    if is_behind { Progress::Refused } else { Progress::Waits(Sent::Nothing) };
                self.set(partition, progress);
                Some(Equality::Unequal(partition))
            }
        }
    }

    /// Sends what there is to send in order to make copies equal, as far as not too much is under way.
    pub(crate) fn catch_up(
        &mut self,
        heading: Heading,
        shard: &S,
    ) -> Vec<Message<S::Key, S::Record>> {
        let mut messages = Vec::new();
        if !self.is_open {
            return messages;
        }
        let offered = self.waiting.iter().take(OFFERS_PER_MESSAGE).copied();
        let offered: Vec<_> = offered.collect();
        let mut items = Vec::with_capacity(offered.len());
        for partition in offered {
            let Some(Progress::Waits(sent)) = self.unequal.get(&partition) else { continue };
            self.set(partition, Progress::Offered(*sent, self.sent + 1));
            items.push(Item::Offer { partition, digest: shard.digest(partition) });
        }
        if !items.is_empty() {
            messages.push(self.message(heading, items));
        }
        while self.under_way_bytes < CATCHING_UP_BYTES_MAX {
            let Some(partition) = self.sending.first().copied() else { break };
            let Some(Progress::Sends(sent, behind)) = self.unequal.get(&partition) else { break };
            let (sent, behind) = (*sent, behind.clone());
            let newer_than = match sent {
                Sent::Newer(version) => Some(version),
                _ => None,
            };
            let Part { records, to } =
                shard.read(partition, behind.as_ref(), newer_than, PART_BYTES);
            let progress = match &to {
                Some(to) => Progress::Sends(sent, Some(to.clone())),
                None => Progress::Waits(sent),
            };
            self.set(partition, progress);
            let item = match newer_than {
                Some(_) => Item::Changes { partition, changes: records },
                None => Item::Part { partition, behind, to, records },
            };
            messages.push(self.message(heading, vec![item]));
        }
        messages
    }
}

/// How long a message with these items is, in bytes, about.
pub(crate) fn length<S: Shard>(items: &[Item<S::Key, S::Record>]) -> usize {
    /// What an item, or a message, takes beside records.
    const HEADING_BYTES: usize = 32;
    let records = |item: &Item<S::Key, S::Record>| match item {
        Item::Changes { changes, .. } => changes.iter().map(S::length).sum(),
        Item::Part { records, .. } => records.iter().map(S::length).sum(),
        Item::Offer { .. } => 0,
    };
    let items = items.iter().map(|item| HEADING_BYTES + records(item));
    HEADING_BYTES + items.sum::<usize>()
}
