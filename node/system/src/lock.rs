//! Locks over what no panic can leave half changed: a thread that panics under one does not take the others
//! with it.

use std::sync::{
    LockResult, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// Locks `mutex`, even where a thread has panicked under it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    forgive(mutex.lock())
}

/// Locks `lock` for reading, even where a thread has panicked under it.
pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    forgive(lock.read())
}

/// Locks `lock` for writing, even where a thread has panicked under it.
pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    forgive(lock.write())
}

/// What a lock or the wait for a condition gives, even where a thread has panicked under it.
pub fn forgive<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
