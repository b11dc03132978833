//! Scores of weighted rendezvous hashing: what a node's random draw is worth, given its weight.
//!
//! With `u` uniform in (0, 1), `-ln(u) / weight` is exponentially distributed with rate `weight`, and
//! of several such numbers each is the smallest with a probability proportional to its rate. The
//! score is the inverse, so the highest wins. (Schindelhauer and Schomaker, "Weighted distributed hash
//! tables", SPAA 2005, the logarithmic method.)
//!
//! Of two nodes of the same weight the one with the higher draw has the higher score, so draws can be
//! compared as integers among such nodes, which is what a strategy should do: a logarithm costs as
//! much as dozens of draws.

/// How many bits a draw has: as many as an `f64` holds exactly, with a half more.
pub const DRAW_BITS: u32 = 52;

/// How many draws there are.
const PARTS: f64 = (1_u64 << DRAW_BITS) as f64;

/// The score of a node of `weight` whose draw is `draw`, which is below 2^[`DRAW_BITS`]. It is
/// positive and finite.
///
/// The logarithm is libm's: a platform's own may round differently.
#[must_use]
pub fn of(weight: f64, draw: u64) -> f64 {
    -weight / libm::log(open_unit(draw))
}

/// A draw below which no draw of a node of `weight` scores above `score`, told without a logarithm:
/// since `-ln(u) >= 1 - u`, no score exceeds `weight / (1 - u)`.
///
/// The margins are far above any rounding error, so no score that does exceed is overlooked.
#[must_use]
pub fn lowest_draw_above(weight: f64, score: f64) -> u64 {
    const MARGIN: f64 = 1.000_001;
    const MARGIN_DRAWS: u64 = 2;
    let unit = 1.0 - weight * MARGIN / score;
    // Below zero, where every draw may score above, this is zero.
    ((unit * PARTS) as u64).saturating_sub(MARGIN_DRAWS)
}

/// The middle of the one of 2^52 equal parts of (0, 1) that `draw` is the number of, exact in an
/// `f64`.
fn open_unit(draw: u64) -> f64 {
    (draw as f64 + 0.5) / PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;

    const MOST: u64 = (1 << DRAW_BITS) - 1;

    #[test]
    fn scores_are_positive_and_finite_at_both_ends() {
        for draw in [0, MOST] {
            let unit = open_unit(draw);
            assert!(0.0 < unit && unit < 1.0, "{unit}");
            assert!(of(1.0, draw) > 0.0 && of(256.0, draw).is_finite(), "{draw}");
        }
    }

    #[test]
    fn a_higher_draw_and_a_higher_weight_score_higher() {
        assert!(of(1.0, MOST) > of(1.0, MOST / 2) && of(1.0, MOST / 2) > of(1.0, 0));
        assert!(of(2.0, MOST / 2) > of(1.0, MOST / 2));
    }

    #[test]
    fn no_score_that_exceeds_is_overlooked() {
        let random = (0..10_000).map(|n| hash::nth(0, n) >> (u64::BITS - DRAW_BITS));
        for draw in random.chain([0, 1, MOST - 1, MOST]) {
            for weight in [1.0, 3.0, 256.0] {
                // The score itself is the hardest bound that it still may exceed, but for rounding.
                let lowest = lowest_draw_above(weight, of(weight, draw));
                assert!(lowest <= draw, "{lowest} is above {draw} x {weight}");
            }
        }
    }

    #[test]
    fn most_draws_that_do_not_exceed_are_told() {
        let good = of(1.0, MOST - MOST / 1000);
        assert!(lowest_draw_above(1.0, good) > MOST - MOST / 500);
        assert!(lowest_draw_above(2.0, good) > MOST - MOST / 250);
        assert_eq!(lowest_draw_above(256.0, of(1.0, MOST / 2)), 0);
    }
}
