//! Places where tests can have a node or a mover die, to see that nothing is lost.
//!
//! They exist only in a program that is built with the feature `failpoints`, and do nothing there
//! unless the environment's `FAILPOINTS` names them, as the crate `fail` describes:
//! `FAILPOINTS="node::install::after-record=3*off->return"` passes three times and then has the node
//! kill itself (SIGKILL), `sleep(50)` waits so many milliseconds.
//!
//! | name | when |
//! |---|---|
//! | `node::install::before-record` | before a layout is stored |
//! | `node::install::after-record` | it is durable, requests are still judged by the one before |
//! | `node::install::after-swap` | requests are judged by it |
//! | `node::install::after-wipe` | the places of partitions that are to come are clear, which is not told yet |
//! | `node::commit::before` | before a group of writes is given to the store |
//! | `node::commit::after` | it is durable, and no client was told yet |
//! | `node::wal::before-write` | before a group is appended to the write-ahead log |
//! | `node::wal::torn-write` | half of it has been appended |
//! | `node::wal::before-sync` | it is in the log, and perhaps not on the disk |
//! | `node::wal::after-sync` | it is on the disk, where it was to be synced |
//! | `node::wal::after-seal` | a segment of the log has ended, and the next one does not exist |
//! | `node::checkpoint::before-flush` | before the engine gets what a segment contains |
//! | `node::checkpoint::after-flush` | the engine has it, and the segment is still there |
//! | `node::checkpoint::no-room` | the engine is said to have found no room; a node that starts anew because of that has no failpoints any more |
//! | `node::checkpoint::after-remove` | the segment has been removed |
//! | `node::disk::full` | the disk is said to have nothing left but what was given up of the reserve |
//! | `node::copy::before-commit` | as `node::commit::before`, where the group has copied records |
//! | `node::copy::after-commit` | as `node::commit::after`, where the group has copied records |
//! | `node::clear::chunk` | before some records are removed that the node may not have any more |
//! | `node::holds` | before another node is told which of its partitions this one holds |
//! | `node::reader::before` | before a reader reads what the serving loop does not have in memory |
//! | `node::purge::chunk` | before some tombstones are removed that no node needs any more |
//! | `mover::after-begin`, `mover::after-prepare`, `mover::before-open`, `mover::after-open`, `mover::copy::page`, `mover::after-copy`, `mover::after-verify`, `mover::after-settle` | around each step of a mover |
//! | `mover::after-note` | the nodes that leave are noted, and the last step has not been taken |
//! | `mover::after-telling` | a node has been told to stop |
//! | `launch::before-desired-state` | before `add-node` writes a desired state |
//! | `client::before-examination` | before a client examines a strategy that it is to adopt |

/// While this lives, what the environment's `FAILPOINTS` names is in force.
pub struct Listening {
    #[cfg(feature = "failpoints")]
    _scenario: fail::FailScenario<'static>,
}

/// Has what the environment names be in force, in a program that has failpoints.
#[must_use]
pub fn listen() -> Listening {
    Listening {
        #[cfg(feature = "failpoints")]
        _scenario: fail::FailScenario::setup(),
    }
}

/// Dies here, or waits, where the environment wants it.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) {
    fail::fail_point!(name, |_| kill_this_process());
}

/// Does nothing: the program is built without failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn pass(_name: &str) {}

/// Whether the environment wants something to happen here.
#[cfg(feature = "failpoints")]
pub fn is_on(name: &str) -> bool {
    fail::list().iter().any(|(listed, _)| listed == name)
}

/// Never: the program is built without failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn is_on(_name: &str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
fn kill_this_process() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal may take a moment, and nothing may happen after this point.
    loop {
        std::thread::park();
    }
}
