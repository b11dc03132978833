//! The strategies that are linked into this program as ordinary functions, beside their components.
//!
//! A component must give the very table that its source gives natively, and takes longer for it; the
//! lab says both. Nothing else uses these: a client goes by the component alone.

use kv_strategy::{Assign, Node};

use kv_placement::{Strategy, StrategyHost, StrategyNode, StrategySource};

/// The built-in strategies' functions, by the names of the components.
const NATIVE: [(&str, Assign); 5] = [
    ("hrw", hrw::assign),
    ("consistent-hash", consistent_hash::assign),
    ("zone-hrw", zone_hrw::assign),
    ("bounded-hrw", bounded_hrw::assign),
    ("maglev", maglev::assign),
];

/// The function that a component was built from, where this program knows it: where it is, byte for
/// byte, the built-in component of its name.
pub(super) fn of(strategy: &Strategy, host: &StrategyHost) -> Option<Assign> {
    let name = StrategySource::built_in_names().find(|name| *name == strategy.info().name)?;
    let built_in = host.load(&StrategySource::BuiltIn(name)).ok()?;
    let is_it = built_in.digest() == strategy.digest();
    is_it.then(|| by_name(name)).flatten()
}

fn by_name(wanted: &str) -> Option<Assign> {
    NATIVE.iter().find(|(name, _)| *name == wanted).map(|(_, assign)| *assign)
}

/// Nodes as the functions take them.
pub(super) fn nodes(nodes: &[StrategyNode]) -> Vec<Node> {
    let node = |node: &StrategyNode| Node {
        id: node.id.clone(),
        weight: node.weight,
        zone: node.zone.clone(),
    };
    nodes.iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_placement::Cache;

    #[test]
    fn every_built_in_strategy_is_linked_and_found_by_its_component() {
        let host = StrategyHost::new(Cache::disabled()).unwrap();
        for name in StrategySource::built_in_names() {
            assert!(by_name(name).is_some(), "{name} is missing in this file");
            let strategy = host.load(&StrategySource::BuiltIn(name)).unwrap();
            assert_eq!(strategy.info().name, name);
            assert!(of(&strategy, &host).is_some());
        }
    }
}
