//! Version 0.2.0 of the contract: a strategy says what its settings are.

use wasmtime::AsContextMut;

use self::exports::kv::placement::strategy as contract;
use super::Description;

wasmtime::component::bindgen!({
    path: "../../wit",
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

super::assign_by_bindings!();
