//! Which threads go first where there are more that have something to do than processors.

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// Less than half of what others get, so that no thread waits long for one that has something which it needs (`nice`).
const LOW: i32 = 4;

/// Has other threads of the machine go before the calling one. Where the system does not let it, all are equal.
pub fn lower_own() {
    // On Linux this is of one thread, though it is named after a process.
    let _ = setpriority_process(Some(gettid()), LOW);
}
