//! What goes wrong.

use rand::RngExt;
use rand::rngs::StdRng;

/// Something that goes wrong, for so many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A node's process is killed, and started again.
    Kill(u16, u64),
    /// As that, and what its disk has not synced is gone.
    PowerLoss(u16, u64),
    /// A node's copies are said to be in sync no more, though it works.
    Evict(u16, u16),
    /// A node's process is told to stop, ends when nobody waits for it or after a while, and is started again.
    Stop(u16, u64),
    /// A node never comes back.
    Death(u16),
    /// All processes are killed at once.
    KillAll(u64),
    /// A node does nothing, and goes on later.
    Freeze(u16, u64),
    /// Two nodes do not reach each other, or one not the other.
    Cut(u16, u16, bool, u64),
    /// A node does not reach the registry.
    NoRegistry(u16, u64),
    /// All messages are slow.
    Slow(u64, u64),
    /// Some messages are lost.
    Lossy(u64),
}

impl Fault {
    /// Any of them, in a cluster of so many nodes.
    pub(crate) fn any(random: &mut StdRng, nodes: u16) -> Self {
        let node = random.random_range(0..nodes);
        let other = (node + random.random_range(0..nodes.max(2) - 1) + 1) % nodes;
        // Shorter and longer than it takes until others notice.
        let lasts = match random.random_range(0..3) {
            0 => random.random_range(20..400),
            1 => random.random_range(400..2_500),
            _ => random.random_range(2_500..8_000),
        };
        match random.random_range(0..26) {
            23..26 => Self::Stop(node, lasts),
            20..23 => Self::Evict(node, other),
            0..4 => Self::Kill(node, lasts),
            4..6 => Self::PowerLoss(node, lasts),
            6 => Self::Death(node),
            7 => Self::KillAll(lasts),
            8..11 => Self::Freeze(node, lasts),
            11..14 => Self::Cut(node, other, true, lasts),
            14..16 => Self::Cut(node, other, false, lasts),
            16..18 => Self::NoRegistry(node, lasts),
            18 => Self::Slow(random.random_range(10..600), lasts),
            _ => Self::Lossy(lasts),
        }
    }
}
