//! What a strategy may be and may use. A strategy that needs more is refused, never waited for.

use std::time::Duration;

use kv_core::limits::{
    COMPONENT_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX, PARTITIONS_MAX, REPLICAS_MAX, ZONE_BYTES_MAX,
};

/// The linear memory of one instance, in bytes. It holds the nodes, the largest answer several times
/// over, and the strategy's own tables: a ring of half a million points takes 17 MiB to sort.
pub const MEMORY_BYTES_MAX: usize = 32 << 20;

/// The elements of one table of function references. A strategy needs one for each function that
/// it calls indirectly.
pub const TABLE_ELEMENTS_MAX: usize = 4096;

/// The tables, memories and core instances of one component. An ordinary toolchain makes one of
/// each; adapters that it links in may add a few.
pub const INSTANCES_MAX: usize = 4;

/// The stack of the strategy's own calls, in bytes. It is the calling thread's.
pub const STACK_BYTES_MAX: usize = 512 << 10;

/// The stack that a thread must have left to call a strategy, in bytes. Rust's and Tokio's threads
/// start with twice as much.
pub const CALLER_STACK_BYTES: usize = 1 << 20;

/// The stack of the thread that stops a strategy whose time is over, in bytes.
pub const WATCHER_STACK_BYTES: usize = 128 << 10;

/// The stack of the thread that compiles a component, in bytes.
pub const COMPILER_STACK_BYTES: usize = 16 << 20;

/// The bytes that one answer may make the host allocate.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The fuel of every call, before what the question's size adds. One unit is about one WebAssembly
/// instruction, or one byte of a bulk copy; a processor burns 1 to 3 units in a nanosecond.
pub const FUEL_BASE: u64 = 250_000_000;

/// The fuel that a question adds for every pair of a partition and a node. Weighted rendezvous
/// hashing, which looks at every pair, needs the figure that the benchmark prints.
pub const FUEL_PER_PAIR: u64 = 500;

/// The fuel that a question adds for every owner of a partition beyond the first, on which strategies
/// spend more than on telling nodes apart where there are few of them.
pub const FUEL_PER_FURTHER_OWNER: u64 = 8_000;

/// The fuel that the five answers of a verified table may take together, before what the question's size
/// adds to each of them: less than each could take, since a client waits for all.
pub const VERIFIED_FUEL_BASE: u64 = 2 * FUEL_BASE;

/// The fuel for saying what it is, which takes thousands. It is gone within a second on any machine,
/// so no clock is needed.
pub const FUEL_DESCRIBE: u64 = 10_000_000;

/// The most CPU time that a strategy may take for an answer. As every limit on time it guards the
/// host alone: fuel stops a strategy first, on every machine at the same instruction, unless its
/// instructions are unusually slow. A strategy that the clock stops was not found to lack anything.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// The most CPU time that a strategy may take for a table that is verified, which are five answers,
/// before what the question's size adds.
pub const VERIFIED_TIME_BASE: Duration = Duration::from_secs(3);

/// What a question adds to that for every unit of fuel that its size adds. Strategies need a twentieth.
pub const VERIFIED_TIME_PER_FUEL: Duration = Duration::from_nanos(4);

/// The longest that compiling a component may take. An ordinary strategy takes 0.1 to 0.2 s, and one of the
/// most work that is allowed a second; the rest is for slow and busy machines.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(20);

/// The most work that a component may be to the compiler, in units of about one ordinary instruction.
/// A strategy takes 60,000 to 100,000; the limit is at most 0.7 s and 60 MiB of memory, as the benchmark
/// `compile` shows.
pub const COMPILE_WORK_MAX: u64 = 250_000;

/// The most work that one function may be, in the same units. Functions are compiled one by one, in a
/// time that grows faster than they do.
pub const FUNCTION_WORK_MAX: u64 = 60_000;

/// The most modules and components that a component may be made of. An ordinary toolchain makes four.
pub const PARTS_MAX: u64 = 64;

/// The most bytes of component types that may follow each other. A strategy takes a hundred. The compiler
/// reads types in types by calling itself, which so many bytes keep within its stack.
pub const TYPES_BYTES_MAX: u64 = 4096;

/// How long a strategy may take.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// One question, in CPU time, so that a strategy is not blamed for a busy machine.
    pub call: Duration,
    /// Compiling the component, by the clock.
    pub compile: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { call: CALL_TIME_MAX, compile: COMPILE_TIME_MAX }
    }
}

/// The longest name that a strategy may give itself, in bytes.
pub const INFO_NAME_BYTES_MAX: usize = 64;

/// The longest version that a strategy may give itself, in bytes.
pub const INFO_VERSION_BYTES_MAX: usize = 32;

/// The longest summary that a strategy may give of itself, in bytes.
pub const INFO_SUMMARY_BYTES_MAX: usize = 500;

/// The longest that a strategy may say about its settings, in bytes.
pub const INFO_SETTINGS_BYTES_MAX: usize = 500;

/// The characters of a strategy's own error message that are shown.
pub const GUEST_TEXT_CHARS_MAX: usize = 500;

/// The largest compiled component that is kept on disk, in bytes.
pub const CACHE_FILE_BYTES_MAX: usize = 32 << 20;

/// The compiled components that are kept on disk; the oldest go first.
pub const CACHE_FILES_MAX: usize = 16;

/// How old a half-written cache file must be before it counts as left by a process that died.
pub const CACHE_TEMPORARY_AGE_MAX: Duration = Duration::from_secs(600);

const _: () = {
    assert!(PARTITIONS_MAX as usize * REPLICAS_MAX as usize * 4 <= ANSWER_BYTES_MAX);
    // The nodes and two copies of the largest answer leave half of the memory to the strategy.
    let nodes_bytes = MEMBERS_MAX * (NAME_BYTES_MAX + ZONE_BYTES_MAX + 32);
    assert!(nodes_bytes + 2 * ANSWER_BYTES_MAX <= MEMORY_BYTES_MAX / 2);
    assert!(2 * STACK_BYTES_MAX <= CALLER_STACK_BYTES);
    assert!(COMPONENT_BYTES_MAX <= CACHE_FILE_BYTES_MAX / 8);
};

/// The fuel for a verified table, which are five answers, for a question that is worth `fuel`.
#[must_use]
pub fn verified_fuel_for(fuel: u64) -> u64 {
    VERIFIED_FUEL_BASE.saturating_add(fuel.saturating_sub(FUEL_BASE).saturating_mul(5))
}

/// The CPU time for a verified table, what the question's `fuel` is worth.
#[must_use]
pub fn verified_time_for(fuel: u64) -> Duration {
    let units = u32::try_from(fuel.saturating_sub(FUEL_BASE)).unwrap_or(u32::MAX);
    VERIFIED_TIME_BASE + VERIFIED_TIME_PER_FUEL * units
}

/// The fuel for one question: what `nodes`, `partitions` and `replicas` make it worth.
#[must_use]
pub fn fuel_for(nodes: usize, partitions: u32, replicas: u32) -> u64 {
    let of_nodes = (nodes as u64).saturating_mul(FUEL_PER_PAIR);
    let further_owners = u64::from(replicas.saturating_sub(1));
    let per_partition = of_nodes.saturating_add(further_owners * FUEL_PER_FURTHER_OWNER);
    FUEL_BASE.saturating_add(u64::from(partitions).saturating_mul(per_partition))
}
