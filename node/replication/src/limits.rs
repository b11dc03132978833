//! How long nodes wait for each other, and how much they have under way. Times are in milliseconds of a clock that
//! goes on while the machine sleeps, and that no two nodes share.

/// How often a node sends every other one that has copies of the same partitions a beacon.
pub const BEACON_MS: u64 = 250;

/// How long a lease lasts, from when the beacon was sent that was answered with it.
pub const LEASE_MS: u64 = 1_500;

/// How much longer the node that granted it counts it, from when it answered: clocks go at different speeds.
pub const LEASE_MARGIN_MS: u64 = 100;

/// A backup is reported by its primary when it has been silent, or has owed an acknowledgement, for so long.
pub const BACKUP_SILENT_MS: u64 = 1_500;

/// A primary is reported by its backups when it has been silent for so long.
pub const PRIMARY_SILENT_MS: u64 = 2_000;

/// How much later each further backup of a row reports its primary.
pub const RANK_DELAY_MS: u64 = 300;

/// How much later one is reported where fewer copies than writes need would be left: a majority that sees each other
/// goes first.
pub const BELOW_MIN_DELAY_MS: u64 = 5_000;

/// How long a step of the layout is waited for, before it is asked for once more.
pub const STEP_RETRY_MS: u64 = 500;

/// How long the opening of a session is waited for.
pub const OPENING_MS: u64 = 1_000;

/// Writes wait no longer for a copy that owes acknowledgements for so long: new ones are refused until it goes on.
pub const BUSY_MS: u64 = 500;

/// How much is under way to one node, in bytes, before new writes are refused until it goes on...
pub const UNDER_WAY_BYTES_MAX: usize = 16 << 20;

/// ...and before nothing more is read for catching up.
pub const CATCHING_UP_BYTES_MAX: usize = 1 << 20;

/// How much is read for catching up at once, in bytes.
pub const PART_BYTES: usize = 64 << 10;

/// How many offers are sent at once.
pub const OFFERS_PER_MESSAGE: usize = 1024;

/// How much a node keeps of another one that was sent under a layout that it has not installed yet, in bytes, beside a
/// single message: more than one sends that is not answered.
pub const WAITING_BYTES_MAX: usize = 2 * UNDER_WAY_BYTES_MAX;

const _: () = {
    // Clocks that go two in a hundred apart are allowed for.
    assert!(LEASE_MARGIN_MS * 100 >= LEASE_MS * 4);
    // One that is reported as silent has no lease any more, as a rule, so that nobody has to wait for it.
    assert!(PRIMARY_SILENT_MS >= LEASE_MS + LEASE_MARGIN_MS);
    // A beacon that is late or lost costs no lease.
    assert!(LEASE_MS > 4 * BEACON_MS);
    // What is slow is refused before it is reported.
    assert!(BUSY_MS < BACKUP_SILENT_MS);
};
