//! What a node takes of another one's stream.

use std::collections::VecDeque;

use kv_core::copies::session::Acceptance;

use crate::limits::WAITING_BYTES_MAX;
use crate::message::{Answer, Item, Message, Session};
use crate::placement::Placement;
use crate::shard::Shard;
use crate::stream::length;

/// A piece of a stream.
#[derive(Debug)]
pub(crate) struct Piece<S: Shard> {
    pub(crate) position: u64,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) items: Vec<Item<S::Key, S::Record>>,
}

/// The session in which another node streams to this one.
#[derive(Debug)]
pub(crate) struct Intake<S: Shard> {
    session: Session,
    /// The last position that came.
    came: u64,
    /// The last one that was taken.
    taken: u64,
    /// What was sent under a layout that this node does not have yet, and what came after it.
    waiting: VecDeque<Piece<S>>,
    waiting_bytes: usize,
    answers: Vec<Answer>,
    /// The last one that was acknowledged.
    acked: u64,
}

impl<S: Shard> Intake<S> {
    pub(crate) fn new(session: Session) -> Self {
        let (waiting, waiting_bytes, answers) = (VecDeque::new(), 0, Vec::new());
        Self { session, came: 0, taken: 0, waiting, waiting_bytes, answers, acked: 0 }
    }

    pub(crate) fn session(&self) -> Session {
        self.session
    }

    /// Keeps what has come next; `false` where something is missing before it, or too much waits.
    pub(crate) fn receive(&mut self, piece: Piece<S>) -> bool {
        let bytes = length::<S>(&piece.items);
        let has_room = self.waiting.is_empty() || self.waiting_bytes + bytes <= WAITING_BYTES_MAX;
        if piece.position != self.came + 1 || !has_room {
            return false;
        }
        self.came = piece.position;
        self.waiting_bytes += bytes;
        self.waiting.push_back(piece);
        true
    }

    /// Takes what can be taken of what `sender` has sent to the node `me`. Returns the epoch of a layout that has to
    /// be installed before the rest can.
    pub(crate) fn take(
        &mut self,
        (me, sender): (u16, u16),
        placement: &Placement,
        shard: &mut S,
    ) -> Option<u64> {
        while let Some(piece) = self.waiting.pop_front_if(|it| it.epoch <= placement.epoch) {
            self.waiting_bytes -= length::<S>(&piece.items);
            shard.note_held(sender, piece.sequence);
            for item in piece.items {
                let partition = item.partition();
                let view = placement.view(partition);
                let acceptance = view.map(|it| it.accept(me, sender, piece.epoch));
                if acceptance == Some(Acceptance::Take) {
                    self.answers.extend(carry_out(piece.position, item, shard));
                } else {
                    self.answers.push(Answer::Refused { partition, epoch: placement.epoch });
                }
            }
            self.taken = piece.position;
        }
        self.waiting.front().map(|it| it.epoch)
    }

    /// The acknowledgement of what was taken, which is durable by now; `None` where none is owed.
    pub(crate) fn ack(&mut self) -> Option<Message<S::Key, S::Record>> {
        let after = std::mem::replace(&mut self.acked, self.taken);
        (after < self.taken).then(|| Message::Ack {
            session: self.session,
            after,
            position: self.taken,
            answers: std::mem::take(&mut self.answers),
        })
    }
}

fn carry_out<S: Shard>(at: u64, item: Item<S::Key, S::Record>, shard: &mut S) -> Option<Answer> {
    match item {
        Item::Changes { partition, changes } => {
            changes.into_iter().for_each(|change| shard.apply(partition, change));
            None
        }
        Item::Part { partition, behind, to, records } => {
            shard.replace(partition, behind, to, records);
            None
        }
        Item::Offer { partition, digest } => Some(match shard.digest(partition) == digest {
            true => Answer::Equal { partition, at },
            false => Answer::Differs { partition, at, newest: shard.newest(partition) },
        }),
    }
}
