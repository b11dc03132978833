//! Sessions: a primary's stream to one other node, and what that node takes of it.

use super::Row;

/// What a node knows of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The partition's row by the layout that the node has installed.
    pub row: Row,
    /// The epoch since which the row is as it is, as far as the node can know.
    pub since: u64,
    /// The epoch that the node has installed.
    pub installed: u64,
}

/// What becomes of something that a primary sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acceptance {
    /// It is taken.
    Take,
    /// The primary has a newer layout, which this node has to install first.
    Wait,
    /// The sender is not the primary, or the row has changed since. The session is over.
    Refuse,
}

impl View {
    /// Whether a node that has `installed`, and has had its row as it is `since`, means the same row: neither has
    /// missed a change of it that the other knows of. Only then a session is opened.
    #[must_use]
    pub fn is_the_same_as(&self, since: u64, installed: u64) -> bool {
        self.since <= installed && since <= self.installed
    }

    /// What `node` does with what `sender` sent as primary when it had the layout of `epoch` installed.
    #[must_use]
    pub fn accept(&self, node: u16, sender: u16, epoch: u64) -> Acceptance {
        if epoch > self.installed {
            return Acceptance::Wait;
        }
        let is_primary = self.row.primary() == sender;
        let holds = self.row.position(node).is_some();
        let is_current = is_primary && holds && epoch >= self.since;
        if is_current { Acceptance::Take } else { Acceptance::Refuse }
    }
}

/// Whether a primary has lost writes: it has numbered its last one `own`, and a copy that is in sync holds one of its
/// writes of the number `held`. It must not serve, nor make that copy equal to itself, and gives its place up.
#[must_use]
pub fn yields(own: u64, held: u64) -> bool {
    own < held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_present_primary_is_heard() {
        let row = Row::whole(&[1, 2]).unwrap();
        let view = View { row, since: 5, installed: 7 };
        assert_eq!(view.accept(2, 1, 5), Acceptance::Take);
        assert_eq!(view.accept(2, 1, 7), Acceptance::Take);
        assert_eq!(view.accept(2, 1, 8), Acceptance::Wait);
        assert_eq!(view.accept(2, 1, 4), Acceptance::Refuse, "the row has changed since");
        assert_eq!(view.accept(1, 2, 7), Acceptance::Refuse, "it is a backup");
        assert_eq!(view.accept(3, 1, 7), Acceptance::Refuse, "it has no copy");
    }

    #[test]
    fn a_primary_that_has_less_than_it_sent_yields() {
        assert!(yields(3, 4) && !yields(4, 4) && !yields(5, 4));
    }

    #[test]
    fn both_mean_the_same_row_or_one_has_missed_something() {
        let view = View { row: Row::whole(&[1, 2]).unwrap(), since: 5, installed: 7 };
        assert!(view.is_the_same_as(3, 5) && view.is_the_same_as(7, 9));
        assert!(!view.is_the_same_as(3, 4) && !view.is_the_same_as(8, 9));
    }
}
