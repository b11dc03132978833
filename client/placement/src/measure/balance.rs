//! How evenly a table spreads load.

use super::{Placed, dues};

/// The load of nodes against the due of their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The load of each node, in partitions (each replica counts) or in the loads that were given for them.
    pub loads: Vec<u64>,
    /// The load of each node, over its due: 1 where it is exactly that.
    pub ratios: Vec<f64>,
    /// The highest of the ratios: with equal weights, the largest load over the mean.
    pub max: f64,
    /// The lowest of the ratios.
    pub min: f64,
    /// The standard deviation of the ratios, of which 1 is the mean.
    pub deviation: f64,
}

impl Balance {
    /// Every partition is as much load as any other.
    #[must_use]
    pub fn of_partitions(placed: Placed<'_>) -> Self {
        Self::of(placed, |_| 1)
    }

    /// A partition is as much load as `loads` says, such as its number of keys; a partition beyond their end
    /// is no load.
    #[must_use]
    pub fn of_loads(placed: Placed<'_>, loads: &[u64]) -> Self {
        Self::of(placed, |partition| loads.get(partition).copied().unwrap_or_default())
    }

    fn of(placed: Placed<'_>, load_of: impl Fn(usize) -> u64) -> Self {
        let mut loads = vec![0; placed.nodes.len()];
        for (partition, owners) in placed.partitions().enumerate() {
            for &owner in owners {
                loads[owner as usize] += load_of(partition);
            }
        }
        let total: u64 = loads.iter().sum();
        let ratio = |(&load, due): (&u64, f64)| match total {
            0 => 1.0,
            total => load as f64 / (total as f64 * due),
        };
        let ratios: Vec<f64> = loads.iter().zip(dues(placed.nodes)).map(ratio).collect();
        let max = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let squares: f64 = ratios.iter().map(|ratio| (ratio - 1.0).powi(2)).sum();
        let deviation = (squares / ratios.len().max(1) as f64).sqrt();
        Self { loads, ratios, max, min, deviation }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::nodes;
    use super::*;

    #[test]
    fn load_is_measured_against_weight() {
        let nodes = nodes(&[(1, ""), (3, "")]);
        let placed = Placed::new(&nodes, &[0, 1, 1, 1], 1).unwrap();
        let balance = Balance::of_partitions(placed);
        assert_eq!((balance.loads, balance.ratios), (vec![1, 3], vec![1.0, 1.0]));
        assert_eq!((balance.max, balance.min, balance.deviation), (1.0, 1.0, 0.0));
        let placed = Placed::new(&nodes, &[0, 0, 1, 1], 1).unwrap();
        let balance = Balance::of_partitions(placed);
        assert_eq!(balance.ratios, [2.0, 2.0 / 3.0]);
        assert!((balance.deviation - (10.0_f64 / 18.0).sqrt()).abs() < 1e-12, "{balance:?}");
    }

    #[test]
    fn partitions_weigh_what_is_in_them() {
        let nodes = nodes(&[(1, ""), (1, "")]);
        let placed = Placed::new(&nodes, &[0, 1, 1, 0], 2).unwrap();
        assert_eq!(Balance::of_loads(placed, &[5, 3]).loads, [8, 8]);
        let placed = Placed::new(&nodes, &[0, 1], 1).unwrap();
        assert_eq!(Balance::of_loads(placed, &[5]).loads, [5, 0]);
        assert_eq!(Balance::of_loads(placed, &[]).max, 1.0);
    }
}
