//! The runs that are explored.

use crate::scenario::{Op, Scenario};
use crate::state::Budget;

/// From one node to another, which has a leftover of an earlier move.
pub(crate) fn one_key() -> Scenario {
    Scenario {
        name: "one key",
        placements: vec![vec![0], vec![1]],
        windows: vec![1],
        keys: vec![0],
        stored: vec![true],
        leftovers: vec![(1, 0)],
        programs: vec![vec![Op::Put(0)], vec![Op::Delete(0)], vec![Op::Get(0)]],
        movers: 2,
        nodes: 2,
        is_begun: true,
        puts_back_in_time: false,
        budget: Budget::default(),
    }
}

/// The rebalance is aborted at any moment, or its window taken back.
pub(crate) fn abort() -> Scenario {
    Scenario {
        name: "abort",
        programs: vec![vec![Op::Put(0), Op::Delete(0)], vec![Op::Get(0)]],
        movers: 1,
        budget: Budget { turns: 1, retracts: 1, ..Budget::default() },
        ..one_key()
    }
}

/// Two partitions, each with a key, move in two windows, one after the other: node 1 hands one over and
/// gets the other.
pub(crate) fn two_windows() -> Scenario {
    Scenario {
        name: "two windows",
        placements: vec![vec![0, 1], vec![1, 2]],
        keys: vec![0, 1],
        stored: vec![true, true],
        leftovers: vec![(2, 1)],
        programs: vec![vec![Op::Put(0)], vec![Op::Get(1)], vec![Op::Delete(1)]],
        nodes: 3,
        ..one_key()
    }
}

/// Nodes are killed and come back.
pub(crate) fn crashes() -> Scenario {
    Scenario {
        name: "crashes",
        programs: vec![vec![Op::Put(0)], vec![Op::Get(0), Op::Get(0)]],
        movers: 1,
        budget: Budget { crashes: 2, timeouts: 1, ..Budget::default() },
        ..one_key()
    }
}

/// Writes with conditions, whose senders may not wait for the answer.
pub(crate) fn conditions() -> Scenario {
    Scenario {
        name: "conditions",
        programs: vec![vec![Op::Get(0), Op::Replace(0)], vec![Op::Delete(0)], vec![Op::Create(0)]],
        movers: 1,
        budget: Budget { timeouts: 1, ..Budget::default() },
        ..one_key()
    }
}

/// A partition is moved, moved back, and moved again, while copies of the first time are under way.
pub(crate) fn there_again() -> Scenario {
    Scenario {
        name: "there again",
        programs: vec![vec![Op::Put(0)]],
        leftovers: Vec::new(),
        movers: 1,
        budget: Budget { begins: 2, ..Budget::default() },
        ..one_key()
    }
}

/// Everything can happen that keeps a rebalance from its end.
pub(crate) fn ending() -> Scenario {
    Scenario {
        name: "ending",
        programs: vec![vec![Op::Delete(0)], vec![Op::Get(0)]],
        budget: Budget { crashes: 1, turns: 1, ..Budget::default() },
        ..one_key()
    }
}

/// A value is read, deleted, and another one stored, before it is replaced as if it were still there.
pub(crate) fn recreated() -> Scenario {
    Scenario {
        name: "recreated",
        stored: vec![false],
        leftovers: Vec::new(),
        programs: vec![
            vec![Op::Get(0), Op::Replace(0)],
            vec![Op::Create(0), Op::Delete(0), Op::Create(0)],
        ],
        movers: 1,
        ..one_key()
    }
}

/// Three nodes, two keys, two movers, a crash, a client that does not wait, and an abort: far more than
/// can be explored every day.
pub(crate) fn everything() -> Scenario {
    Scenario {
        name: "everything",
        programs: vec![vec![Op::Put(0)], vec![Op::Get(0)], vec![Op::Delete(1)]],
        budget: Budget { crashes: 1, turns: 1, timeouts: 1, ..Budget::default() },
        ..two_windows()
    }
}

/// Consul loses everything, and gets back an older layout first.
pub(crate) fn lost_consul() -> Scenario {
    Scenario {
        name: "lost Consul",
        leftovers: Vec::new(),
        programs: vec![vec![Op::Put(0)]],
        movers: 1,
        budget: Budget { losses: 1, turns: 1, ..Budget::default() },
        ..one_key()
    }
}

/// The same, while a key is read.
pub(crate) fn lost_while_read() -> Scenario {
    Scenario {
        name: "lost Consul, read",
        programs: vec![vec![Op::Put(0)], vec![Op::Get(0)]],
        ..lost_consul()
    }
}

/// Layouts are published that no step led to, and an operator puts that right; at any moment, also
/// while a rebalance is under way.
pub(crate) fn forged() -> Scenario {
    Scenario {
        name: "forged",
        placements: vec![vec![0], vec![1], vec![2]],
        leftovers: Vec::new(),
        programs: vec![vec![Op::Put(0)]],
        movers: 1,
        nodes: 2,
        budget: Budget { forgeries: 1, corrections: 1, ..Budget::default() },
        ..one_key()
    }
}

/// The data directory of the node that data has moved to is put back before the others have removed what
/// they had.
pub(crate) fn put_back_in_time() -> Scenario {
    Scenario {
        name: "put back in time",
        programs: Vec::new(),
        puts_back_in_time: true,
        ..put_back()
    }
}

/// The data directory of the node that data moves to is put back.
pub(crate) fn put_back() -> Scenario {
    Scenario {
        name: "put back",
        leftovers: Vec::new(),
        programs: vec![vec![Op::Put(0)], vec![Op::Get(0), Op::Get(0)]],
        movers: 1,
        budget: Budget { put_backs: 1, ..Budget::default() },
        ..one_key()
    }
}
