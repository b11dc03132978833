//! Version 0.2.0 of the contract: a strategy says what its settings are.

use wasmtime::AsContextMut;

use self::exports::kv::placement::strategy as contract;
use super::super::question::{Order, Question, StrategyNode};
use super::{Description, Refusal, Said};

wasmtime::component::bindgen!({
    path: "../wit",
    world: "placement",
    ownership: Borrowing { duplicate_if_necessary: false },
});

pub(super) fn describe(
    instance: &Placement,
    store: impl AsContextMut,
) -> wasmtime::Result<Description> {
    let contract::Info { name, version, summary, settings } =
        instance.kv_placement_strategy().call_describe(store)?;
    Ok(Description { name, version, summary, settings: Some(settings) })
}

pub(super) fn assign(
    instance: &Placement,
    store: impl AsContextMut,
    question: &Question<'_>,
    order: &Order,
) -> wasmtime::Result<Said> {
    let nodes: Vec<_> = order
        .iter()
        .map(|&index| &question.nodes[index])
        .map(|StrategyNode { id, weight, zone }| contract::Node { id, weight: *weight, zone })
        .collect();
    let Question { partitions, replicas, config, .. } = *question;
    let strategy = instance.kv_placement_strategy();
    let said = strategy.call_assign(store, &nodes, partitions, replicas, config)?;
    Ok(said.map_err(Refusal::from))
}

impl From<contract::Error> for Refusal {
    fn from(error: contract::Error) -> Self {
        match error {
            contract::Error::TooFewNodes(needed) => Self::TooFewNodes(needed),
            contract::Error::InvalidConfig(why) => Self::InvalidConfig(why),
            contract::Error::Unsupported(why) => Self::Unsupported(why),
        }
    }
}
