//! Tables that were computed lately. A table follows from strategy, nodes and configuration alone, so
//! the many epochs of a rebalance, which have the same two, ask their strategies only once.

use std::collections::VecDeque;
use std::sync::Mutex;

use kv_core::digest::Digest;
use kv_core::layout::Table;
use kv_system::lock::lock;

use crate::limits::TABLES_KEPT_MAX;
use crate::placement::TableRequest;

/// A table and the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Computed {
    pub(crate) table: Table,
    pub(crate) digest: Digest,
}

/// The tables that were computed last.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// The one that was used last stands last.
    known: Mutex<VecDeque<Known>>,
}

#[derive(Debug)]
struct Known {
    strategy: Digest,
    question: TableRequest,
    answer: Computed,
}

impl From<Table> for Computed {
    fn from(table: Table) -> Self {
        Self { digest: table.digest(), table }
    }
}

impl Tables {
    /// What the strategy with this digest answers to `question`, where that is known.
    pub(crate) fn find(&self, strategy: Digest, question: &TableRequest) -> Option<Computed> {
        let mut known = lock(&self.known);
        let is_it = |it: &Known| it.strategy == strategy && it.question == *question;
        let index = known.iter().position(is_it)?;
        let found = known.remove(index)?;
        let answer = found.answer.clone();
        known.push_back(found);
        Some(answer)
    }

    /// Keeps an answer in place of the one that was used least lately.
    pub(crate) fn keep(&self, strategy: Digest, question: TableRequest, answer: Computed) {
        if self.find(strategy, &question).is_some() {
            return;
        }
        let mut known = lock(&self.known);
        while known.len() >= TABLES_KEPT_MAX {
            known.pop_front();
        }
        known.push_back(Known { strategy, question, answer });
    }
}

#[cfg(test)]
mod tests {
    use kv_core::layout::Member;
    use kv_core::partition::PartitionCount;
    use uuid::Uuid;

    use super::*;

    fn question(members: u128, config: &str) -> TableRequest {
        let member = |number: u128| Member {
            id: format!("node-{number}").parse().unwrap(),
            uuid: Uuid::from_u128(number),
            weight: 1,
            zone: String::new(),
        };
        TableRequest {
            members: (0..members).map(member).collect(),
            partitions: PartitionCount::new(2).unwrap(),
            replicas: 1,
            config: config.into(),
        }
    }

    fn answer(owner: u32) -> Computed {
        let partitions = PartitionCount::new(2).unwrap();
        Table::new(&[owner, owner], partitions, 1, 10).unwrap().into()
    }

    #[test]
    fn a_table_is_found_by_all_that_it_follows_from() {
        let tables = Tables::default();
        let strategy = Digest::of(b"strategy");
        tables.keep(strategy, question(2, "c"), answer(1));
        assert_eq!(tables.find(strategy, &question(2, "c")), Some(answer(1)));
        assert_eq!(tables.find(Digest::of(b"other"), &question(2, "c")), None);
        assert_eq!(tables.find(strategy, &question(3, "c")), None);
        assert_eq!(tables.find(strategy, &question(2, "d")), None);
        let reweighted = |question: &mut TableRequest| question.members[0].weight = 9;
        let mut heavier = question(2, "c");
        reweighted(&mut heavier);
        assert_eq!(tables.find(strategy, &heavier), None);
    }

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let tables = Tables::default();
        let strategy = Digest::of(b"strategy");
        let used = question(1, "");
        tables.keep(strategy, used.clone(), answer(0));
        for members in 2..20 {
            tables.keep(strategy, question(members, ""), answer(1));
            tables.keep(strategy, question(members, ""), answer(1));
            assert_eq!(tables.find(strategy, &used), Some(answer(0)), "{members}");
        }
        assert_eq!(tables.known.lock().unwrap().len(), TABLES_KEPT_MAX);
        assert_eq!(tables.find(strategy, &question(2, "")), None);
        assert_eq!(tables.find(strategy, &question(19, "")), Some(answer(1)));
    }
}
