//! The rules of the store: what nodes, clients and movers may do, and what they do next.
//!
//! Nothing here does I/O, reads a clock or needs a runtime, so that a model checker explores the very
//! code that runs (`tests/model`). What carries the rules out stands around this crate: the node serves
//! and stores, the client asks, the mover steps.
//!
//! The words of the whole:
//!
//! - [`name`], [`digest`], [`partition`], [`version`], [`incarnation`]: small values that all share;
//!   [`limits`]: how large shared data may be; [`backoff`]: how long to wait after a failure;
//!   [`bounded`]: reading JSON that strangers wrote; [`printable`]: what others wrote, made safe to print.
//! - [`partition_sum`]: what stands for all records of a partition, so that copies of it can be compared.
//! - [`layout`]: the cluster's source of truth: who owns what, which copies are in sync, and the steps by which that
//!   changes.
//! - [`operation`]: an operation on one key and what may become of it; [`refusal`]: why a node refuses.
//!
//! A node's rules:
//!
//! - [`ownership`]: what a node is to a partition, and which rights that gives to a request;
//! - [`record`]: what an operation makes of a record;
//! - [`installed`]: a layout as one node sees it; [`guard`]: a request's circumstances against it;
//! - [`lineage`]: whether a data directory is the newest copy of itself;
//! - [`copies`]: copies of a partition on several nodes, whose rows [`layout::Assignments`] gives. No program keeps
//!   any yet.
//!
//! A client's and a mover's:
//!
//! - [`attempt`]: an operation, tried once under one layout, as a state machine;
//! - [`mover`]: what a mover does next; [`window`]: which partitions it takes next.
//!
//! # Why the promises hold
//!
//! The promises to users are on the client's page. These are the reasons, each a property of the model.
//!
//! - **A key has one owner at a time.** A layout changes by compare-and-set alone, and each change is an epoch.
//!   A window is opened to the new owners only once every participant has durably installed the layout that
//!   froze it, so the old ones serve none of it any more ([`layout`], [`ownership`]).
//! - **A read during a move finds the newest value.** The new owner takes writes at once, and what it has
//!   counts; where it has no record, the frozen old owner does, and nothing changes there. A copy never
//!   replaces a record, and a delete leaves a tombstone until the window is settled, so that a copy which comes
//!   late brings nothing back ([`record`]).
//! - **A condition is decided once.** The new owner does not know what an absent record was, so it refuses a
//!   conditional write of it (`not_copied`), and the client has the record copied first. One epoch holds for
//!   all of that, else the client starts over ([`attempt`]).
//! - **A write is carried out at most once.** Where a client cannot know that a write was not carried out, the
//!   attempt ends as unknown, and it is never sent again ([`attempt`]).
//! - **Any mover may die, or wake up late.** What it decides is a function of the layout and of what it has
//!   found out under that epoch; the step is a compare-and-set, and nodes refuse copies of another epoch
//!   ([`mover`]).
//! - **Nothing is removed that is nowhere else.** A node's records go only where a move was verified and the
//!   new owner says that it holds them; a layout that skips this, forged or put back, has them kept instead
//!   ([`ownership`]).
//! - **Data that was put back is not served.** A node that finds itself further in a move than it had
//!   installed has lost what it stored ([`ownership`]), and a directory that does not know the newest
//!   incarnation of itself is an older copy ([`lineage`]).
//! - **A client needs no trust.** A request says under which epoch, and to which run of which node, it was made;
//!   the node refuses what does not fit what it has installed ([`guard`]).

pub mod attempt;
pub mod backoff;
pub mod bounded;
pub mod copies;
pub mod digest;
pub mod guard;
pub mod incarnation;
pub mod installed;
pub mod layout;
pub mod limits;
pub mod lineage;
pub mod mover;
pub mod name;
pub mod operation;
pub mod ownership;
pub mod partition;
pub mod partition_sum;
pub mod printable;
pub mod record;
pub mod refusal;
#[cfg(feature = "sample")]
pub mod sample;
pub mod version;
pub mod window;
