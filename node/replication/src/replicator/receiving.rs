//! What comes from other nodes.

use kv_core::copies::session::yields;

use super::serving::Cause;
use super::{Replicator, has};
use crate::beacons::Contact;
use crate::intake::{Intake, Piece};
use crate::message::{Message, Session};
use crate::shard::Shard;
use crate::stream::Equality;

impl<S: Shard> Replicator<S> {
    /// Takes in what another node has sent.
    pub fn receive(
        &mut self,
        now: u64,
        from: u16,
        message: Message<S::Key, S::Record>,
        shard: &mut S,
    ) {
        self.now = self.now.max(now);
        let (Some(epoch), true) = (self.epoch(), from != self.me) else { return };
        let contact = self.contacts.entry(from).or_insert_with(|| Contact::new(self.now));
        contact.hear(self.now);
        match message {
            Message::Beacon { epoch: theirs, sent_at } => {
                contact.note_installed(theirs);
                contact.grant(self.now, epoch);
                self.send(from, Message::Grant { epoch, sent_at });
                self.want(theirs);
            }
            Message::Grant { epoch: theirs, sent_at } => {
                contact.note_installed(theirs);
                // What was not sent yet was not answered.
                if sent_at <= self.now {
                    contact.note_lease(theirs, sent_at);
                }
                self.want(theirs);
            }
            Message::Open { session } => self.open_intake(from, session, shard),
            Message::Opened { session, held } => {
                let stream = self.streams.get_mut(&from).filter(|it| it.session() == session);
                if yields(shard.sequence(), held) {
                    self.lost = self.lost.max(Some(held));
                    self.yield_place(shard);
                } else if let Some(stream) = stream.filter(|_| self.lost.is_none()) {
                    stream.open();
                    self.down_since.remove(&from);
                }
            }
            Message::Stream { session, position, epoch, sequence, items } => {
                let piece = Piece { position, epoch, sequence, items };
                let intake = self.intakes.get_mut(&from).filter(|it| it.session() == session);
                if intake.is_some_and(|it| it.receive(piece)) {
                    self.take(from, shard);
                } else {
                    if self.intakes.get(&from).is_some_and(|it| it.session() == session) {
                        self.intakes.remove(&from);
                    }
                    self.send(from, Message::Closed { session });
                }
            }
            Message::Ack { session, after, position, answers } => {
                let stream = self.streams.get_mut(&from).filter(|it| it.session() == session);
                let Some(stream) = stream else { return };
                if !stream.is_next_ack(after, position) {
                    return self.end_stream(from);
                }
                let changes = stream.ack(position, &answers, epoch);
                // What was refused may be another node's by now.
                stream.keep(|partition| has(&self.terms, partition, from));
                let cause = if changes.is_empty() { Cause::Acked(from) } else { Cause::Changed };
                for change in changes {
                    let (Equality::Equal(partition) | Equality::Unequal(partition)) = change;
                    let Some(term) = self.terms.get_mut(&partition) else { continue };
                    let Some(position) = term.row().position(from) else { continue };
                    match change {
                        Equality::Equal(_) => term.note_equal(position),
                        Equality::Unequal(_) => term.note_end(position),
                    }
                }
                self.settle(cause);
            }
            Message::Closed { session } => {
                if self.streams.get(&from).is_some_and(|it| it.session() == session) {
                    self.end_stream(from);
                }
            }
        }
        self.go_on(shard);
    }

    fn open_intake(&mut self, from: u16, session: Session, shard: &S) {
        if self.intakes.get(&from).is_some_and(|it| it.session() >= session) {
            return self.send(from, Message::Closed { session });
        }
        self.intakes.insert(from, Intake::new(session));
        self.send(from, Message::Opened { session, held: shard.held(from) });
    }

    /// Takes what can be taken of a node's stream.
    pub(super) fn take(&mut self, from: u16, shard: &mut S) {
        let (Some(intake), Some(placement)) = (self.intakes.get_mut(&from), &self.placement) else {
            return;
        };
        if let Some(epoch) = intake.take((self.me, from), placement, shard) {
            self.want(epoch);
        }
    }
}
