//! The versions of the contract that were released, each in a file that never has to be edited again.
//!
//! Which one a component was built for, the name of its export says. Above here there is one contract,
//! whatever the version: a [`Description`], and an answer or a [`Refusal`].

/// Asking by a version's own bindings, which are other types in each, though of the same shape so far.
macro_rules! assign_by_bindings {
    () => {
        pub(super) fn assign(
            instance: &Placement,
            store: impl wasmtime::AsContextMut,
            question: &$crate::call::StrategyCall<'_>,
            order: &$crate::call::Order,
        ) -> wasmtime::Result<super::Said> {
            let node = |&index: &usize| {
                let node = &question.nodes[index];
                contract::Node { id: &node.id, weight: node.weight, zone: &node.zone }
            };
            let nodes: Vec<_> = order.iter().map(node).collect();
            let said = instance.kv_placement_strategy().call_assign(
                store,
                &nodes,
                question.partitions,
                question.replicas,
                question.config,
            )?;
            Ok(said.map_err(super::Refusal::from))
        }

        impl From<contract::Error> for super::Refusal {
            fn from(error: contract::Error) -> Self {
                match error {
                    contract::Error::TooFewNodes(needed) => Self::TooFewNodes(needed),
                    contract::Error::InvalidConfig(why) => Self::InvalidConfig(why),
                    contract::Error::Unsupported(why) => Self::Unsupported(why),
                }
            }
        }
    };
}
use assign_by_bindings;

mod v0_1;
mod v0_2;

use wasmtime::component::InstancePre;
use wasmtime::{AsContextMut, Store};

use super::call::{Order, StrategyCall};
use super::limiter::Limiter;

/// The interface that a strategy exports, without its version.
const INTERFACE: &str = "kv:placement/strategy@";

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V0_1,
    V0_2,
}

/// A component of one of the versions, ready to be instantiated.
#[derive(Clone)]
pub(super) enum Guest {
    V0_1(v0_1::PlacementPre<Limiter>),
    V0_2(v0_2::PlacementPre<Limiter>),
}

/// An instance of such a component.
pub(super) enum Instance {
    V0_1(v0_1::Placement),
    V0_2(v0_2::Placement),
}

/// What a strategy says of itself, as it is.
pub(super) struct Description {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) summary: String,
    /// What its configuration text may say, where the version of the contract has words for that.
    pub(super) settings: Option<String>,
}

/// Why a strategy does not answer, in its own words.
pub(super) enum Refusal {
    TooFewNodes(u32),
    InvalidConfig(String),
    Unsupported(String),
}

/// The owners that a strategy names, as they are.
pub(super) type Said = Result<Vec<u32>, Refusal>;

impl Version {
    /// All of them, the newest first.
    pub(super) const ALL: [Self; 2] = [Self::V0_2, Self::V0_1];

    /// The name under which a component of this version exports its interface.
    pub(super) const fn interface(self) -> &'static str {
        match self {
            Self::V0_1 => "kv:placement/strategy@0.1.0",
            Self::V0_2 => "kv:placement/strategy@0.2.0",
        }
    }

    /// Its number, such as `0.2.0`.
    pub(super) const fn number(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
        }
    }

    /// The newest version that a component with these exports was built for.
    pub(super) fn of(exports: &[&str]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| exports.contains(&version.interface()))
    }

    /// Whether a name is that of the interface, in a version that may be unknown.
    pub(super) fn is_of_some(export: &str) -> bool {
        export.starts_with(INTERFACE)
    }
}

impl Guest {
    /// # Errors
    /// Fails where the component's exports are not those of `version`.
    pub(super) fn new(version: Version, component: InstancePre<Limiter>) -> wasmtime::Result<Self> {
        Ok(match version {
            Version::V0_1 => Self::V0_1(v0_1::PlacementPre::new(component)?),
            Version::V0_2 => Self::V0_2(v0_2::PlacementPre::new(component)?),
        })
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Self::V0_1(_) => Version::V0_1,
            Self::V0_2(_) => Version::V0_2,
        }
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::V0_1(guest) => guest.engine(),
            Self::V0_2(guest) => guest.engine(),
        }
    }

    pub(super) fn instantiate(&self, store: &mut Store<Limiter>) -> wasmtime::Result<Instance> {
        Ok(match self {
            Self::V0_1(guest) => Instance::V0_1(guest.instantiate(store)?),
            Self::V0_2(guest) => Instance::V0_2(guest.instantiate(store)?),
        })
    }
}

impl Instance {
    pub(super) fn describe(&self, store: impl AsContextMut) -> wasmtime::Result<Description> {
        match self {
            Self::V0_1(instance) => v0_1::describe(instance, store),
            Self::V0_2(instance) => v0_2::describe(instance, store),
        }
    }

    /// Asks, with the nodes in this order.
    pub(super) fn assign(
        &self,
        store: impl AsContextMut,
        question: &StrategyCall<'_>,
        order: &Order,
    ) -> wasmtime::Result<Said> {
        match self {
            Self::V0_1(instance) => v0_1::assign(instance, store, question, order),
            Self::V0_2(instance) => v0_2::assign(instance, store, question, order),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_of_several_versions_is_asked_by_the_newest() {
        let [new, old] = Version::ALL.map(Version::interface);
        assert_eq!(Version::of(&["run", old, new]), Some(Version::V0_2));
        assert_eq!(Version::of(&[old]), Some(Version::V0_1));
        assert_eq!(Version::of(&["run", "kv:placement/strategy@0.0.9"]), None);
    }

    #[test]
    fn every_version_is_in_the_wit_folder_and_the_newest_is_on_top() {
        let declares = |wit: &str, version: Version| {
            assert!(wit.contains(&format!("package kv:placement@{};", version.number())));
            assert_eq!(version.interface(), format!("{INTERFACE}{}", version.number()));
        };
        declares(include_str!("../../../../wit/placement.wit"), Version::ALL[0]);
        declares(include_str!("../../../../wit/0.1.0/placement.wit"), Version::V0_1);
    }
}
