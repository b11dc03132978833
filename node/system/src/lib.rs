//! What the programs need of the operating system, beyond what the standard library has.
//!
//! - [`private`]: who may read the store's files; [`inherited`]: what a process was given by the one that
//!   started it; [`streams`]: whether it was given its standard streams; [`descriptors`] and [`resources`]:
//!   how many files, connections and threads it may have; [`memory`]: how much memory there is for it;
//! - [`replacement`]: a file that is written as a whole; [`transient`]: which failures pass;
//! - [`priority`]: which threads go first;
//! - [`wake`]: a flag that a poll waits for; [`lock`](lock::lock): a mutex that no panic has spoiled;
//! - [`failpoints`]: where tests have a process die.

pub mod descriptors;
pub mod failpoints;
pub mod inherited;
pub mod lock;
pub mod memory;
pub mod priority;
pub mod private;
pub mod replacement;
pub mod resources;
pub mod streams;
pub mod transient;
pub mod wake;
