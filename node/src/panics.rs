//! What happens where a thread panics: the process ends, and says why.
//!
//! A node that goes on without its writer, or with an engine that stopped in the middle, would be a riddle;
//! one that ends is started again. Its libraries panic where the system gives them no memory, thread or
//! descriptor, and the engine on some damage. Which of these it was decides what the operator has to do, so it
//! is told apart. Where memory is lacking, whatever is done to end may fail as well, or wait for ever for
//! what another thread holds: an alarm of the system's ends the process then.
#![allow(unsafe_code, reason = "an alarm's handler may call nothing but what C allows")]

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use kv_storage::OPENING_THREAD;
use kv_system::transient;

use crate::words;

/// How long the end may take, in seconds: what was said before is written meanwhile.
const END_WITHIN_SECONDS: u32 = 5;
/// What the process ends with.
const EXIT_CODE: i32 = 1;

const NO_MEMORY: &str = "the system gives this process no more memory: raise its limit (ulimit -v, or its container's), or start the node again when there is some";
const NO_THREAD: &str = "the system gives this user no more threads, or this process no address space for them: raise the limits (ulimit -u, ulimit -v), or start the node again later";
const NO_DESCRIPTOR: &str =
    "this process may open no more files: raise its limit (ulimit -n), and start the node again";
const DAMAGE: &str = "the store is damaged: a copy of the data directory from before can be served with --serve-older-copy, without what was written since, or the node be given up with `kvclient remove-node --dead`";

/// What the libraries speak of where something is lacking, beside the system's numbers.
const LACKING: [(&str, &str); 6] = [
    ("thread pool", NO_THREAD),
    ("failed to spawn thread", NO_THREAD),
    ("not enough memory", NO_MEMORY),
    ("Cannot allocate", NO_MEMORY),
    ("out of memory", NO_MEMORY),
    // An array of the engine's for which there was no memory.
    ("header_ptr.is_null()", NO_MEMORY),
];

/// Has the process end where any of its threads panics.
pub fn end_the_process() {
    std::panic::set_hook(Box::new(|panic| {
        end_by_alarm();
        say(panic);
        words::finish();
        std::process::exit(EXIT_CODE);
    }));
}

fn say(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("for no reason that it gives");
    let lacking = lacking(reason);
    if std::thread::current().name() == Some(OPENING_THREAD) {
        words::say(format_args!(
            "kvnode: the storage engine does not open the store: {reason}; {}",
            lacking.unwrap_or(DAMAGE)
        ));
        return;
    }
    words::say_panic(panic);
    match lacking {
        Some(advice) => words::say(format_args!("kvnode: {advice}")),
        // It takes memory, and files.
        None => words::say_backtrace(),
    }
}

/// What to do where a thread panics since it lacked something; `None` where that was not why.
fn lacking(reason: &str) -> Option<&'static str> {
    let told = LACKING.iter().find(|(words, _)| reason.contains(words)).map(|(_, advice)| *advice);
    told.or_else(|| match transient::number_in(reason)? {
        libc::ENOMEM => Some(NO_MEMORY),
        libc::EAGAIN => Some(NO_THREAD),
        libc::EMFILE | libc::ENFILE => Some(NO_DESCRIPTOR),
        number => transient::write_advice(&std::io::Error::from_raw_os_error(number)),
    })
}

/// Has the system end the process in a while, whatever it is doing then.
fn end_by_alarm() {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: it may be called in a signal handler, and does not return.
        unsafe { libc::_exit(EXIT_CODE) }
    }
    static IS_SET: AtomicBool = AtomicBool::new(false);
    if IS_SET.swap(true, Ordering::AcqRel) {
        // The first one counts, however many threads panic.
        return;
    }
    let handler = end as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing that must not be done in one, and nothing else of this process uses
    // this signal.
    unsafe {
        libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
        libc::alarm(END_WITHIN_SECONDS);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_is_lacking_is_told_from_damage() {
        let pool = "The global thread pool has not been initialized.: ThreadPoolBuildError { kind: IOError(Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }) }";
        assert_eq!(lacking(pool), Some(NO_THREAD));
        for (number, advice) in [
            (libc::ENOMEM, NO_MEMORY),
            (libc::EAGAIN, NO_THREAD),
            (libc::EMFILE, NO_DESCRIPTOR),
            (libc::ENFILE, NO_DESCRIPTOR),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(lacking(&format!("it failed: {error}")), Some(advice), "{error}");
            let unwrapped = format!("called `Result::unwrap()` on an `Err` value: {error:?}");
            assert_eq!(lacking(&unwrapped), Some(advice), "{error:?}");
        }
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(lacking(&full.to_string()).is_some_and(|it| it.contains("free some space")));
        assert_eq!(lacking("Allocation error : not enough memory"), Some(NO_MEMORY));
        assert_eq!(lacking("crc mismatch"), None);
        assert_eq!(lacking(&io::Error::from_raw_os_error(libc::EIO).to_string()), None);
    }
}
