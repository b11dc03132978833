//! The component's side: the generated bindings, and the way between their types and ours.
//!
//! This is the only file that names wit-bindgen.

use crate::{Assign, contract};

/// What wit-bindgen generates from `wit/placement.wit`.
#[allow(unreachable_pub, clippy::all, missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "placement",
        pub_export_macro: true,
        runtime_path: "::kv_strategy::guest::runtime",
        default_bindings_module: "::kv_strategy::guest::bindings",
    });
}

/// The runtime of the generated code, re-exported so that a strategy depends on this crate alone.
pub use wit_bindgen::rt as runtime;

use bindings::exports::kv::placement::strategy;

/// Asks the strategy's function and gives its answer in the component's types.
///
/// # Errors
/// Whatever the strategy answers.
pub fn answer(
    assign: Assign,
    nodes: Vec<strategy::Node>,
    partitions: u32,
    replicas: u32,
    config: &str,
) -> Result<Vec<u32>, strategy::Error> {
    let nodes: Vec<contract::Node> = nodes.into_iter().map(Into::into).collect();
    assign(&nodes, partitions, replicas, config).map_err(Into::into)
}

impl From<strategy::Node> for contract::Node {
    fn from(node: strategy::Node) -> Self {
        Self { id: node.id, weight: node.weight, zone: node.zone }
    }
}

impl From<contract::Info> for strategy::Info {
    fn from(info: contract::Info) -> Self {
        Self {
            name: info.name.to_owned(),
            version: info.version.to_owned(),
            summary: info.summary.to_owned(),
            settings: info.settings.to_owned(),
        }
    }
}

impl From<contract::Error> for strategy::Error {
    fn from(error: contract::Error) -> Self {
        match error {
            contract::Error::TooFewNodes(needed) => Self::TooFewNodes(needed),
            contract::Error::InvalidConfig(why) => Self::InvalidConfig(why),
            contract::Error::Unsupported(why) => Self::Unsupported(why),
        }
    }
}
