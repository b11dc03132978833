//! Every limit of rebalancing that is its own. Those that it shares with clients are in
//! [`kvclient::limits`], and those that all share in [`kv_core::limits`].

use std::time::Duration;

use kv_core::limits::MEMBERS_MAX;

/// How long is waited for the nodes to put a Consul right that has an older layout than they have.
pub const RESTORE_WAIT: Duration = Duration::from_secs(10);

/// How long a node may take to answer a mover before it is asked again.
pub const MOVER_REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a mover gives a sign of life.
pub const MOVER_BEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A mover that has given no sign of life for this long may be replaced by another.
pub const MOVER_SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long a mover waits for a node that does not answer, or answers and does not follow the layout,
/// while nothing else gets on.
pub const MOVER_NODE_WAIT: Duration = Duration::from_secs(60);

/// How long a mover keeps a window frozen, which nobody serves meanwhile, for a node that does not
/// confirm it; then the window is taken back.
pub const MOVER_FREEZE_MAX: Duration = Duration::from_secs(3);

/// The first and the longest pause before a mover looks again, where a turn came to nothing.
pub const MOVER_TURN_PAUSE: Duration = Duration::from_millis(5);
/// See [`MOVER_TURN_PAUSE`].
pub const MOVER_TURN_PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a node may take to start after the desired state.
pub const LAUNCH_WAIT: Duration = Duration::from_secs(60);

/// How long is waited for a node that is being started, to learn whom to tell that it is not wanted any
/// more.
pub const TAKE_BACK_WAIT: Duration = Duration::from_secs(5);

/// The most nodes on the list of those that are yet to be told to stop; the oldest go first.
pub const LEAVERS_MAX: usize = 2 * MEMBERS_MAX;

/// How often a change of a small document is tried that others change at the same time.
pub const LIST_TRIES_MAX: usize = 16;

/// How long who is to move data waits for a mover that is about to end.
pub const MOVER_LOCK_WAIT: Duration = Duration::from_secs(5);

/// How often is looked whether a node has started or stopped.
pub const LAUNCH_LOOK_INTERVAL: Duration = Duration::from_millis(100);
