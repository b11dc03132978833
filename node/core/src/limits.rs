//! Every limit that nodes and clients share, in one place.

/// The longest key, in bytes of its UTF-8 text. Keys are 1 to this many bytes long.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest value that a node accepts unless it is started with another limit, in bytes.
pub const VALUE_BYTES_MAX_DEFAULT: usize = 8 << 20;

/// The largest limit on values that a node can be started with, in bytes.
pub const VALUE_BYTES_MAX_CEILING: usize = 32 << 20;

/// The longest JSON header frame, in bytes. A value may travel inside the header, where JSON's
/// escapes can make it up to six times as long; a larger value travels in the body frame.
pub const HEADER_BYTES_MAX: usize = 16 << 20;

/// The longest body frame of a request, in bytes: one value of any length that a node can store, also
/// where it travels as a record with its key.
pub const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX_CEILING + (64 << 10);

/// The longest frame that a socket reads at all, in bytes; the peer that sends a longer one is
/// disconnected by ZeroMQ. It is well above the other limits, so that these get an answer.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// The most frames of a request's envelope before its delimiter: the request's number, and an id of each
/// queue device on its way.
pub const ENVELOPE_FRAMES_MAX: usize = 8;

/// The longest such frames, together, in bytes; an id has at most 255.
pub const ENVELOPE_BYTES_MAX: usize = 255 * ENVELOPE_FRAMES_MAX;

/// The most frames of a message after the routing id: envelope, delimiter, header, body.
pub const FRAMES_MAX: usize = ENVELOPE_FRAMES_MAX + 3;

/// The most operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 1024;

/// The most items in one page of a scan.
pub const PAGE_ITEMS_MAX: usize = 1024;

/// A page of a scan ends once its keys and values exceed this many bytes (it always has an item).
pub const PAGE_BYTES_TARGET: usize = 1 << 20;

/// The most records that a node reads for one page of a scan with a prefix that few keys have.
pub const PAGE_RECORDS_READ_MAX: usize = 16 * PAGE_ITEMS_MAX;

/// The most bytes of keys and values that a node reads for one page, for the same reason.
pub const PAGE_BYTES_READ_MAX: usize = 16 << 20;

/// The most records in one page of FETCH, and in one COPY.
pub const STREAM_RECORDS_MAX: usize = 1024;

/// The most records that a node looks at for one page of DIGEST, COUNT or STORED.
pub const DIGEST_RECORDS_MAX: usize = 4096;

/// The most partitions that are asked about by one HOLDS.
pub const HOLDS_PARTITIONS_MAX: usize = 4096;

/// The most ranges of partitions that a status lists of what a node keeps.
pub const KEPT_RANGES_MAX: usize = 32;

/// The longest reply to GET_ALL, in bytes of keys and values. A node that owns more says so and
/// names SCAN, which pages.
pub const GET_ALL_BYTES_MAX: usize = 32 << 20;

/// The longest values, together, of the reply to a batch, in bytes; it fits a frame, and one value of
/// any length that a node can store. Reads that find no room are refused as `overloaded`.
pub const REPLY_BYTES_MAX: usize = 32 << 20;

/// The most epochs that a layout can be ahead of the one that a node has installed. At ten steps a second
/// it is what a node misses in thirteen years. One that is further ahead is made up, and would leave no
/// room for a layout that puts it right.
pub const EPOCH_LEAP_MAX: u64 = 1 << 32;

/// The longest `id` of a request that is text, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// The longest text of a reply that is for a person, in bytes. A program that reads a longer one cuts it off:
/// no such text has more to say, and a person has to read it.
pub const REPLY_TEXT_BYTES_MAX: usize = 4 << 10;

/// The longest name of a node or cluster, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest name of a zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 64;

/// The longest name of a host, in bytes: the longest that the DNS knows.
pub const HOST_BYTES_MAX: usize = 253;

/// The longest desired state, in bytes of its JSON.
pub const DESIRED_STATE_BYTES_MAX: usize = 16 << 10;

/// The most nodes that run on one host, with their data under one directory, because desired states want
/// them. The operator of a host may choose another number.
pub const HOST_NODES_MAX: usize = 64;

/// The most nodes that are being started at a time on one host because desired states want them.
pub const LAUNCHES_AT_ONCE_MAX: usize = 4;

/// The most partitions of a cluster.
pub const PARTITIONS_MAX: u32 = 1 << 16;

/// The number of partitions of a cluster whose creator names none.
pub const PARTITIONS_DEFAULT: u32 = 4096;

/// The most owners of one partition.
pub const REPLICAS_MAX: u32 = 8;

/// The most members of a layout.
pub const MEMBERS_MAX: usize = 1000;

/// The most entries of a table: partitions times replicas, so that a table of 16 bits each fits Consul's values
/// of at most 512 KiB.
pub const TABLE_ENTRIES_MAX: u32 = 3 << 16;

/// The longest [standing](crate::layout::Standing), in bytes. Consul refuses values above 512 KiB.
pub const STANDING_BYTES_MAX: usize = 512 << 10;

/// How many epochs back a change of a row is when it is no longer told apart from older ones.
pub const STANDING_EPOCHS: u64 = 16;

/// A window of a rebalance takes partitions until they have this many keys (it always has one).
pub const WINDOW_KEYS_TARGET: u64 = 1 << 16;

/// A window of a rebalance takes partitions until they have this many bytes of keys and values.
pub const WINDOW_BYTES_TARGET: u64 = 64 << 20;

/// The largest weight of a node; the smallest is 1.
pub const WEIGHT_MAX: u32 = 256;

/// The longest configuration text of a strategy, in bytes.
pub const STRATEGY_CONFIG_BYTES_MAX: usize = 4096;

/// The largest strategy component, in bytes. Consul refuses values above 512 KiB.
pub const COMPONENT_BYTES_MAX: usize = 512 << 10;

const _: () = {
    assert!(VALUE_BYTES_MAX_DEFAULT <= VALUE_BYTES_MAX_CEILING);
    // The head of a record in a stream has less than a hundred bytes.
    assert!(VALUE_BYTES_MAX_CEILING + KEY_BYTES_MAX + 100 <= BODY_BYTES_MAX);
    assert!(HEADER_BYTES_MAX < FRAME_BYTES_MAX && BODY_BYTES_MAX < FRAME_BYTES_MAX);
    // A header of a full batch of the longest keys fits, even where JSON escapes every byte.
    assert!(BATCH_OPERATIONS_MAX * (6 * KEY_BYTES_MAX + 256) <= HEADER_BYTES_MAX);
    assert!(VALUE_BYTES_MAX_CEILING <= REPLY_BYTES_MAX && REPLY_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(PARTITIONS_MAX.is_power_of_two() && PARTITIONS_DEFAULT.is_power_of_two());
    // A table entry is a member's index in 16 bits.
    assert!(MEMBERS_MAX <= u16::MAX as usize);
    assert!(LAUNCHES_AT_ONCE_MAX <= HOST_NODES_MAX && HOST_NODES_MAX <= MEMBERS_MAX);
};
