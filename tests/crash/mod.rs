//! A node that is killed at any instant has all that it acknowledged when it is back.
//!
//! Nodes are killed (SIGKILL) over and over: at random instants while clients write at depth, while
//! they start and go through their write-ahead log, and at every place in the code that has a name for it
//! (`FAILPOINTS`, see the node's `failpoints.rs`). Clients write down their requests, and which of them were
//! acknowledged or read. After each start every key is read: it must hold the write that was acknowledged
//! last, or one that was asked for after that; its version and the node's counters must fit.
//!
//! A run in all tests is short. This is a long one, which ends with its figures:
//!
//! ```text
//! KV_CRASH_KILLS=10000 cargo test --workspace --test e2e crash:: -- --nocapture
//! ```
//!
//! `KV_CRASH_SEED` repeats the choices of writes and of how nodes die (what the machine makes of
//! an instant is up to its schedule).
//!
//! A kill leaves what the system has taken and not written to the disk yet. What a power loss leaves
//! of that is the subject of the node's own tests of its write-ahead log.
//!
//! | module | what |
//! |---|---|
//! | `settings`, `totals` | what the environment says of a run, and its figures |
//! | `lane` | a node's lives, one after the other |
//! | `death` | how a life ends |
//! | `clients` | the clients that write and read meanwhile |
//! | `ledger` | what each key may hold |

mod clients;
mod death;
mod lane;
mod ledger;
mod settings;
mod totals;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use self::lane::Lane;
use self::settings::Settings;
use self::totals::Totals;

/// How many nodes live and die at the same time.
const LANES: u64 = 4;

/// What all lanes of a run share.
struct Run {
    settings: Settings,
    /// The kills that have been begun.
    kills: AtomicU64,
    totals: Mutex<Totals>,
    started: Instant,
}

#[test]
fn nothing_acknowledged_is_lost_however_a_node_dies() {
    let run = Run {
        settings: Settings::from_environment(),
        kills: AtomicU64::new(0),
        totals: Mutex::default(),
        started: Instant::now(),
    };
    std::thread::scope(|scope| {
        for number in 0..LANES {
            let run = &run;
            scope.spawn(move || Lane::start(run, number).go());
        }
    });
    let totals = run.totals.into_inner().expect("no lane panicked");
    println!("{totals}seconds {:>16.1}", run.started.elapsed().as_secs_f64());
    assert!(totals.is_clean(), "see the findings above");
    assert_eq!(totals.failpoints_not_met(), Vec::<&str>::new());
}
