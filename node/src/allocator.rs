//! The allocator, and how soon it gives the system what has been freed.

use std::sync::atomic::{AtomicBool, Ordering};

use tikv_jemalloc_ctl::{Error, raw};

use crate::memory::MemoryBudget;

/// Pages and records of all lengths come and go for as long as a node runs. The system's allocator spends a fifth of
/// a take-over on finding room among what others have left.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads when the process starts: an arena for each processor, and not four, since each keeps some room
/// of every length.
#[allow(unsafe_code, reason = "the allocator is C's")]
// SAFETY: no other symbol has this name but the one that it is to take the place of, a pointer to a C string.
#[unsafe(export_name = "malloc_conf")]
static CONFIGURATION: &[u8; 20] = b"percpu_arena:percpu\0";

/// A node keeps what it has freed, and is likely to need again, for this long, in milliseconds.
const KEPT_MS: isize = 1000;
/// The same where memory is scarce. At once would be too soon: pages that go are unmapped on every processor, which
/// takes three quarters of the reads that miss.
const KEPT_WHERE_SCARCE_MS: isize = 10;

/// Whether memory is scarce.
static IS_SCARCE: AtomicBool = AtomicBool::new(false);

/// Has the allocator keep no more than fits a node with this `budget`. To be called before there are threads
/// that allocate much.
///
/// # Errors
/// What the allocator says against it; it goes on as it was.
#[allow(unsafe_code, reason = "the allocator is C's")]
pub fn fit(budget: MemoryBudget) -> Result<(), Error> {
    let is_scarce = budget.is_scarce();
    IS_SCARCE.store(is_scarce, Ordering::Relaxed);
    let kept_ms = if is_scarce { KEPT_WHERE_SCARCE_MS } else { KEPT_MS };
    // SAFETY: the names end with a zero; the first and the last are those of a `ssize_t`, the other of an `unsigned`.
    unsafe {
        raw::write(b"arenas.dirty_decay_ms\0", kept_ms)?;
        let arenas: u32 = raw::read(b"arenas.narenas\0")?;
        for number in 0..arenas {
            // One that is not made yet refuses, and will do as all do by then.
            let _ = raw::write(format!("arena.{number}.dirty_decay_ms\0").as_bytes(), kept_ms);
        }
    }
    Ok(())
}

/// Has this thread, one of many that allocate, keep nothing of what it has freed for itself where memory is scarce.
#[allow(unsafe_code, reason = "the allocator is C's")]
pub fn begin_one_of_many() {
    if IS_SCARCE.load(Ordering::Relaxed) {
        // SAFETY: the name ends with a zero, and a `bool` is written. Where that fails, it goes on as it was.
        let _ = unsafe { raw::write(b"thread.tcache.enabled\0", false) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "the allocator is C's")]
    fn it_keeps_what_fits() {
        for (bytes, expected) in [(64 << 20, KEPT_WHERE_SCARCE_MS), (512 << 20, KEPT_MS)] {
            let budget = MemoryBudget::new(Some(bytes), 1);
            fit(budget).unwrap();
            // SAFETY: the name ends with a zero, and what is read is a C string that stays.
            let arenas = unsafe { raw::read_str(b"opt.percpu_arena\0") }.unwrap();
            assert_eq!(arenas, b"percpu\0");
            let has_cache = std::thread::spawn(|| {
                begin_one_of_many();
                // SAFETY: the name ends with a zero, and a `bool` is read.
                unsafe { raw::read::<bool>(b"thread.tcache.enabled\0") }.unwrap()
            });
            assert_eq!(has_cache.join().unwrap(), !budget.is_scarce());
            for name in [&b"arenas.dirty_decay_ms\0"[..], b"arena.0.dirty_decay_ms\0"] {
                // SAFETY: the name ends with a zero, and a `ssize_t` is read.
                let kept_ms: isize = unsafe { raw::read(name) }.unwrap();
                assert_eq!(kept_ms, expected);
            }
        }
    }
}
