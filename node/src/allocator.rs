//! The allocator, and how soon it gives the system what has been freed.

use std::sync::atomic::{AtomicBool, Ordering};

use tikv_jemalloc_ctl::{Error, raw};

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

/// Up to this budget, in bytes, a node gives back at once what it has freed: what it frees within a second is much of
/// what it may take. That costs a fifth of durable writes at full load.
const GIVEN_BACK_AT_ONCE_MAX: u64 = 256 << 20;
/// With a larger one, it keeps what is likely to be needed again soon for this long.
const KEPT_MS: isize = 1000;

/// Whether the budget is so small.
static KEEPS_LITTLE: AtomicBool = AtomicBool::new(false);

/// Has the allocator keep no more than fits a node that may take `memory_bytes`. To be called before there are threads
/// that allocate much.
///
/// # Errors
/// What the allocator says against it; it goes on as it was.
#[allow(unsafe_code, reason = "the allocator is C's")]
pub fn fit(memory_bytes: u64) -> Result<(), Error> {
    let keeps_little = memory_bytes <= GIVEN_BACK_AT_ONCE_MAX;
    KEEPS_LITTLE.store(keeps_little, Ordering::Relaxed);
    let kept_ms = if keeps_little { 0 } else { KEPT_MS };
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
    if KEEPS_LITTLE.load(Ordering::Relaxed) {
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
        for (memory_bytes, expected) in [(64 << 20, 0), (512 << 20, KEPT_MS)] {
            fit(memory_bytes).unwrap();
            // SAFETY: the name ends with a zero, and what is read is a C string that stays.
            let arenas = unsafe { raw::read_str(b"opt.percpu_arena\0") }.unwrap();
            assert_eq!(arenas, b"percpu\0");
            let has_cache = std::thread::spawn(|| {
                begin_one_of_many();
                // SAFETY: the name ends with a zero, and a `bool` is read.
                unsafe { raw::read::<bool>(b"thread.tcache.enabled\0") }.unwrap()
            });
            assert_eq!(has_cache.join().unwrap(), expected > 0);
            for name in [&b"arenas.dirty_decay_ms\0"[..], b"arena.0.dirty_decay_ms\0"] {
                // SAFETY: the name ends with a zero, and a `ssize_t` is read.
                let kept_ms: isize = unsafe { raw::read(name) }.unwrap();
                assert_eq!(kept_ms, expected);
            }
        }
    }
}
