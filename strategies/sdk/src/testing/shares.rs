//! What every node should own.

/// The fair shares of nodes of the given weights, in replicas: what a node's weight says of all of
/// them, but never more than one of each partition. What the heaviest cannot own the others share.
///
/// They are found by setting aside, again and again, the nodes that would get too much.
#[must_use]
pub fn fair_shares(weights: &[u32], partitions: u32, replicas: u32) -> Vec<f64> {
    let partitions = f64::from(partitions);
    let mut shares: Vec<Option<f64>> = vec![None; weights.len()];
    loop {
        let set_aside = shares.iter().flatten().count() as f64;
        let rest = partitions * (f64::from(replicas) - set_aside);
        let open = weights.iter().zip(&shares).filter(|(_, share)| share.is_none());
        let total: u32 = open.map(|(weight, _)| weight).sum();
        let share = |weight: &u32| rest * f64::from(*weight) / f64::from(total.max(1));
        let mut changed = false;
        for (weight, known) in weights.iter().zip(&mut shares) {
            if known.is_none() && share(weight) > partitions {
                *known = Some(partitions);
                changed = true;
            }
        }
        if !changed {
            let all = weights.iter().zip(shares);
            return all.map(|(weight, known)| known.unwrap_or_else(|| share(weight))).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_heaviest_cannot_own_the_others_share() {
        assert_eq!(fair_shares(&[1, 2, 1], 100, 1), [25.0, 50.0, 25.0]);
        assert_eq!(fair_shares(&[256, 1, 1], 100, 2), [100.0, 50.0, 50.0]);
        assert_eq!(fair_shares(&[5, 1, 9], 100, 3), [100.0; 3]);
    }
}
