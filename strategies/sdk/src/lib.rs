//! What placement strategies share, so that writing one is writing one function.
//!
//! A strategy decides which node owns which partition. Its author writes a pure function with the
//! signature of `assign` below and names it in [`export!`]. Compiled for `wasm32`, the crate is then
//! a component of the contract in `wit/placement.wit`; compiled natively, the same function is an
//! ordinary one, for tests and benchmarks, and nothing of WebAssembly is needed.
//!
//! ```
//! use kv_strategy::{Error, Node, check};
//!
//! /// Deals the partitions out in turn. It moves nearly everything when a node joins.
//! pub fn assign(
//!     nodes: &[Node],
//!     partitions: u32,
//!     replicas: u32,
//!     _config: &str,
//! ) -> Result<Vec<u32>, Error> {
//!     check(nodes, partitions, replicas)?;
//!     let mut by_id: Vec<u32> = (0..).take(nodes.len()).collect();
//!     by_id.sort_by_key(|&index| &nodes[index as usize].id);
//!     let mut table = Vec::new();
//!     for partition in 0..partitions as usize {
//!         for rank in 0..replicas as usize {
//!             table.push(by_id[(partition + rank) % by_id.len()]);
//!         }
//!     }
//!     Ok(table)
//! }
//!
//! kv_strategy::export!(assign);
//!
//! let nodes = ["a", "b"].map(Node::named);
//! assert_eq!(assign(&nodes, 4, 1, "")?, [0, 1, 0, 1]);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Map
//!
//! - [`contract`]: nodes, errors, and the check of a question against the contract's limits.
//! - [`hash`]: the hashes that a table may depend on, pinned for ever.
//! - [`permutation`]: pseudo-random permutations of the partitions, pinned as well.
//! - [`score`]: what weighted rendezvous hashing makes of a hash and a weight.
//! - `guest`: the component's side, only on `wasm32`.
//! - `testing`: a strategy's promises as test functions, only with the feature `testing`.
//!
//! Hosting is not here: a program that runs a component must distrust its answers.

// Generated code names this crate from the strategy's crate and from here alike.
#[cfg(target_arch = "wasm32")]
extern crate self as kv_strategy;

pub mod contract;
#[cfg(target_arch = "wasm32")]
pub mod guest;
pub mod hash;
pub mod permutation;
pub mod score;
#[cfg(feature = "testing")]
pub mod testing;

pub use contract::{Assign, Error, Info, Node, check};

/// Makes the crate's `assign` function the strategy that its component exports.
///
/// A strategy with settings says what its configuration text may be, in a line, as the second argument.
///
/// It defines `INFO` from the crate's name, version and description, and on `wasm32` the exports of
/// the contract's world. Call it once, in the crate's root.
#[macro_export]
macro_rules! export {
    ($assign:path) => {
        $crate::export!($assign, "");
    };
    ($assign:path, $settings:expr) => {
        /// What this strategy says of itself.
        pub const INFO: $crate::Info = $crate::Info {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            summary: env!("CARGO_PKG_DESCRIPTION"),
            settings: $settings,
        };

        // A strategy whose signature differs is told so here, natively, and not in generated code.
        const _: $crate::Assign = $assign;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::guest::bindings::exports::kv::placement::strategy;

            struct Component;

            impl strategy::Guest for Component {
                fn describe() -> strategy::Info {
                    INFO.into()
                }

                fn assign(
                    nodes: Vec<strategy::Node>,
                    partitions: u32,
                    replicas: u32,
                    config: String,
                ) -> Result<Vec<u32>, strategy::Error> {
                    $crate::guest::answer($assign, nodes, partitions, replicas, &config)
                }
            }

    $crate::guest::bindings::export!(Component with_types_in $crate::guest::bindings);
        };
    };
}
