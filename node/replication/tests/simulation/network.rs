//! Messages under way. Each pair of nodes has a connection in each direction, which keeps the order, is slow at times,
//! and loses what it has when it breaks.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;

/// The connections.
#[derive(Default)]
pub(crate) struct Network {
    /// When the last message of a connection arrives.
    arrives: BTreeMap<(u16, u16), u64>,
    /// The connections that are cut.
    cut: BTreeSet<(u16, u16)>,
    /// How many of a thousand messages are lost.
    pub(crate) lost_per_mille: u32,
    /// How slow it is, in milliseconds.
    pub(crate) delay_max: u64,
}

impl Network {
    /// When a message that is sent at `now` arrives; `None` where it is lost.
    pub(crate) fn send(
        &mut self,
        random: &mut StdRng,
        now: u64,
        from: u16,
        to: u16,
    ) -> Option<u64> {
        if self.is_cut(from, to) || random.random_range(0..1000) < self.lost_per_mille {
            return None;
        }
        let delay = random.random_range(0..=self.delay_max);
        let arrives = self.arrives.entry((from, to)).or_default();
        *arrives = (now + delay).max(*arrives);
        Some(*arrives)
    }

    pub(crate) fn is_cut(&self, from: u16, to: u16) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: u16, to: u16) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.lost_per_mille = 0;
        self.delay_max = 2;
    }
}
