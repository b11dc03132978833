//! What a correct key is: a register with deletes and conditional writes, one operation at a time.
//!
//! A version is the identity of the write that made the record: a condition on a version holds as long as the
//! stored record is that write's. The versions of a key only grow, also across deletions.

/// A write of one history: its place among that history's writes.
pub(super) type Write = u32;

/// The place of a version among a history's versions, from 1; 0 where it is not known.
pub(super) type Rank = u32;

/// What one key holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The record; `None` if the key has no record.
    stored: Option<Stored>,
    /// The newest known version so far.
    newest: Rank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    write: Write,
    version: Rank,
}

/// What must be stored for an operation to have had its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Whatever it is.
    Anything,
    /// No record.
    Nothing,
    /// Any record.
    Something,
    /// The record of this write.
    Exactly(Write),
    /// The record of a write whose version is not known.
    Unversioned,
    /// It cannot have had that outcome at any time.
    Impossible,
}

/// What an operation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Read,
    /// It stores the value of a write.
    Store(Write, Rank),
    /// It removes the record.
    Remove,
}

/// An operation as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// When it has the effect.
    pub(super) need: Need,
    pub(super) effect: Effect,
    /// Its outcome is unknown: where its need is not met, it did nothing.
    pub(super) attempt: bool,
}

impl State {
    /// What is stored after `step`; `None` if the step cannot be taken here.
    pub(super) fn after(self, step: &Step) -> Option<Self> {
        let holds = match step.need {
            Need::Anything => true,
            Need::Nothing => self.stored.is_none(),
            Need::Something => self.stored.is_some(),
            Need::Exactly(write) => self.stored.is_some_and(|it| it.write == write),
            Need::Unversioned => self.stored.is_some_and(|it| it.version == 0),
            Need::Impossible => false,
        };
        if !holds {
            return step.attempt.then_some(self);
        }
        match step.effect {
            Effect::Read => Some(self),
            Effect::Remove => Some(Self { stored: None, ..self }),
            Effect::Store(write, version) => {
                // A version that is not known orders nothing.
                let grows = version == 0 || version > self.newest;
                let stored = Some(Stored { write, version });
                grows.then_some(Self { stored, newest: self.newest.max(version) })
            }
        }
    }
}
