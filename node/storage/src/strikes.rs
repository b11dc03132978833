//! The keys whose reading has stopped the engine, which are not read again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use kv_system::lock::lock;

use crate::StorageKey;

/// A key whose reading stopped the engine this often is not read again. One strike is not enough:
/// a reader of a sound key can be told of damage that another reader met at the same moment.
const STRIKES_MAX: u8 = 2;
/// How many such keys are remembered; beyond it they are found out anew.
const STRUCK_KEYS_MAX: usize = 1 << 16;

/// How often the reading of which key has stopped the engine.
#[derive(Default)]
pub(crate) struct Strikes {
    strikes: Mutex<HashMap<StorageKey, u8>>,
    /// So that nothing is locked while there are none.
    are_there: AtomicBool,
}

impl Strikes {
    /// Whether the key is not to be read again.
    pub(crate) fn is_struck(&self, key: &StorageKey) -> bool {
        self.are_there.load(Ordering::Acquire)
            && lock(&self.strikes).get(key).is_some_and(|strikes| *strikes >= STRIKES_MAX)
    }

    /// Notes that reading the key has stopped the engine.
    pub(crate) fn strike(&self, key: &StorageKey) {
        let mut strikes = lock(&self.strikes);
        if strikes.len() >= STRUCK_KEYS_MAX {
            strikes.clear();
        }
        *strikes.entry(key.clone()).or_default() += 1;
        self.are_there.store(true, Ordering::Release);
    }
}
