//! The table that fills up.

use crate::turns::Turns;
use crate::walk::Walk;

/// Stands for an owner that is not chosen yet.
const NOBODY: u32 = u32::MAX;

/// The owners of all partitions, by rank.
pub struct Table {
    /// For each partition a row of as many as there are replicas.
    entries: Vec<u32>,
    replicas: usize,
}

impl Table {
    /// A table in which no node owns anything.
    #[must_use]
    pub fn new(partitions: u32, replicas: usize) -> Self {
        Self { entries: vec![NOBODY; partitions as usize * replicas], replicas }
    }

    /// Has the nodes claim the owner number `replica` of every partition, those before it being there.
    /// There are a walk for each node, at its beginning, and more nodes than `replica`.
    ///
    /// It ends: a node passes a partition over only where that is taken or owns the node already, so
    /// as long as one is free, a node that it does not own has it still before it.
    pub fn claim(&mut self, replica: usize, mut walks: Vec<Walk>, turns: &mut Turns) {
        let mut free = self.entries.len() / self.replicas;
        let mut walking: Vec<u32> = (0..).take(walks.len()).collect();
        while free > 0 {
            // Where the heavy have been everywhere, most rounds bring no turn of the others.
            if walking.len() < walks.len() {
                turns.pass_until_one_of(&walking);
            }
            for rank in turns.round() {
                let is_wanted = |partition: &u32| self.is_wanted(*partition, replica, rank);
                let Some(partition) = walks[rank as usize].find(is_wanted) else {
                    walking.retain(|other| *other != rank);
                    continue;
                };
                self.entries[partition as usize * self.replicas + replica] = rank;
                free -= 1;
                if free == 0 {
                    break;
                }
            }
        }
    }

    /// Whether the owner number `replica` of `partition` is free and the node of `rank` is none before.
    fn is_wanted(&self, partition: u32, replica: usize, rank: u32) -> bool {
        let row = partition as usize * self.replicas;
        self.entries[row + replica] == NOBODY && !self.entries[row..row + replica].contains(&rank)
    }

    /// The ranks of the owners, partition by partition.
    #[must_use]
    pub fn into_entries(self) -> Vec<u32> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(weights: &[u32], partitions: u32, replicas: usize) -> Vec<u32> {
        // Seeds that are small begin every account at nothing.
        let seeds: Vec<u64> = (0..).take(weights.len()).collect();
        let mut turns = Turns::new(weights.iter().copied(), &seeds);
        let mut table = Table::new(partitions, replicas);
        for replica in 0..replicas {
            let walks = seeds.iter().map(|&seed| Walk::new(seed, partitions)).collect();
            table.claim(replica, walks, &mut turns);
        }
        table.into_entries()
    }

    #[test]
    fn the_first_turns_go_to_what_each_likes_best() {
        let table = claimed(&[1, 1, 1], 1024, 1);
        assert_eq!(table[Walk::new(0, 1024).next().unwrap() as usize], 0);
        let mut second = Walk::new(1, 1024);
        let first_of_0 = Walk::new(0, 1024).next();
        let liked = second.find(|partition| Some(*partition) != first_of_0).unwrap();
        assert_eq!(table[liked as usize], 1);
    }

    #[test]
    fn everybody_claims_as_many_as_it_has_turns() {
        let table = claimed(&[1, 3], 1024, 1);
        assert_eq!(table.iter().filter(|rank| **rank == 0).count(), 256);
    }

    #[test]
    fn where_only_a_light_node_may_own_what_is_free_its_turns_come() {
        let table = claimed(&[256, 1], 64, 2);
        for owners in table.chunks(2) {
            assert!(owners == [0, 1] || owners == [1, 0], "{owners:?}");
        }
    }
}
