//! Whose turn it is.
//!
//! In every round each node earns its weight, and one that has earned the largest weight of all
//! pays it for a turn. So the heaviest take a turn every round and a node of half their weight
//! every other; equal nodes take turns as in the paper. Nodes begin with a part of a turn earned
//! already, each with a random one, so that those of a small weight do not all come due in the same
//! round.

/// Gives the nodes their turns, in the order of their ranks within a round.
pub struct Turns {
    /// For each rank the node's weight and what it has earned, which is less than a turn costs.
    accounts: Vec<(u32, u32)>,
    /// What a turn costs: the largest weight.
    price: u32,
}

impl Turns {
    /// The turns of nodes of the given weights and hashes, in the order of their ranks.
    #[must_use]
    pub fn new(weights: impl Iterator<Item = u32> + Clone, seeds: &[u64]) -> Self {
        let price = weights.clone().max().unwrap_or(1);
        // The upper half of the hash, as a part of the price.
        let earned = |seed: &u64| (((seed >> 32) * u64::from(price)) >> 32) as u32;
        Self { accounts: weights.zip(seeds.iter().map(earned)).collect(), price }
    }

    /// Lets the rounds pass before the next one in which the turn of one of `ranks` comes. However light
    /// these are, it takes no longer than one round.
    pub fn pass_until_one_of(&mut self, ranks: &[u32]) {
        let rounds_before = |rank: &u32| {
            let (weight, earned) = self.accounts[*rank as usize];
            (self.price - earned).div_ceil(weight) - 1
        };
        let Some(rounds) = ranks.iter().map(rounds_before).min().filter(|rounds| *rounds > 0)
        else {
            return;
        };
        // A weight is at most the price, so no node takes two turns in a round.
        for (weight, earned) in &mut self.accounts {
            *earned = (*earned + rounds * *weight) % self.price;
        }
    }

    /// Lets one more round pass. Gives the ranks of those whose turn comes in it.
    pub fn round(&mut self) -> impl Iterator<Item = u32> {
        let price = self.price;
        (0..).zip(&mut self.accounts).filter_map(move |(rank, (weight, earned))| {
            *earned += *weight;
            if *earned < price {
                return None;
            }
            *earned -= price;
            Some(rank)
        })
    }
}

#[cfg(test)]
mod tests {
    use kv_strategy::hash;

    use super::*;

    /// How many turns each node takes in so many rounds.
    fn taken(weights: &[u32], rounds: u32) -> Vec<u32> {
        let seeds: Vec<u64> = (0..).take(weights.len()).map(|n| hash::nth(5, n)).collect();
        let mut turns = Turns::new(weights.iter().copied(), &seeds);
        let mut taken = vec![0; weights.len()];
        for _ in 0..rounds {
            for rank in turns.round() {
                taken[rank as usize] += 1;
            }
        }
        taken
    }

    #[test]
    fn equal_nodes_take_a_turn_each_round() {
        assert_eq!(taken(&[7; 5], 9), [9; 5]);
    }

    #[test]
    fn turns_follow_weights_to_within_one() {
        let weights = [1, 2, 3, 100, 255, 256];
        for rounds in [1, 10, 1000] {
            for (taken, weight) in taken(&weights, rounds).into_iter().zip(weights) {
                let due = rounds * weight / 256;
                assert!(taken == due || taken == due + 1, "{taken} turns for weight {weight}");
            }
        }
    }

    #[test]
    fn rounds_that_are_passed_are_as_if_they_had_come() {
        let weights = [1, 2, 3, 100, 255, 256];
        let seeds: Vec<u64> = (0..6).map(|n| hash::nth(7, n)).collect();
        for ranks in [&[0][..], &[1, 2], &[0, 3], &[5], &[]] {
            let mut passed = Turns::new(weights.into_iter(), &seeds);
            let mut counted = Turns::new(weights.into_iter(), &seeds);
            for _ in 0..100 {
                passed.pass_until_one_of(ranks);
                let round: Vec<u32> = passed.round().collect();
                let is_awaited =
                    |it: &Vec<u32>| ranks.is_empty() || ranks.iter().any(|r| it.contains(r));
                let mut rounds = std::iter::repeat_with(|| counted.round().collect::<Vec<u32>>());
                assert_eq!(rounds.find(is_awaited), Some(round));
                assert_eq!(passed.accounts, counted.accounts);
            }
        }
    }

    #[test]
    fn light_nodes_do_not_all_come_due_in_the_same_round() {
        let mut weights = vec![1; 1000];
        weights.push(256);
        let taken: u32 = taken(&weights, 128).into_iter().take(1000).sum();
        assert!((400..=600).contains(&taken), "about half of them, not {taken}");
    }
}
