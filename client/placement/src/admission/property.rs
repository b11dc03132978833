//! What a strategy is to be like before a cluster adopts it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A property of a strategy that is looked at before it is adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Property {
    /// Asked again, in a fresh instance and compiled anew, it answers the same.
    Deterministic,
    /// It answers the same whatever the order of the nodes.
    OrderIndependent,
    /// It answers with an owner for every partition, or says that it does not answer such questions.
    Total,
    /// It names only nodes that are there.
    InRange,
    /// With several replicas it answers too, and the owners of a partition are distinct.
    ReplicasDistinct,
    /// They are in distinct zones, where there are enough zones.
    ZonesDistinct,
    /// Of equal nodes none has much more than the others.
    Balanced,
    /// A node's share follows its weight.
    HonoursWeights,
    /// Where a node joins, little more moves than has to.
    MovesLittleOnJoin,
    /// Where a node leaves, little more moves than has to.
    MovesLittleOnLeave,
    /// It answers within the limits on fuel.
    WithinFuel,
    /// It answers within the limits on memory, tables and stack.
    WithinMemory,
}

impl Property {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 12] = [
        Self::Deterministic,
        Self::OrderIndependent,
        Self::Total,
        Self::InRange,
        Self::ReplicasDistinct,
        Self::ZonesDistinct,
        Self::Balanced,
        Self::HonoursWeights,
        Self::MovesLittleOnJoin,
        Self::MovesLittleOnLeave,
        Self::WithinFuel,
        Self::WithinMemory,
    ];

    /// Its name, in kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::OrderIndependent => "order-independent",
            Self::Total => "total",
            Self::InRange => "in-range",
            Self::ReplicasDistinct => "replicas-distinct",
            Self::ZonesDistinct => "zones-distinct",
            Self::Balanced => "balanced",
            Self::HonoursWeights => "honours-weights",
            Self::MovesLittleOnJoin => "moves-little-on-join",
            Self::MovesLittleOnLeave => "moves-little-on-leave",
            Self::WithinFuel => "within-fuel",
            Self::WithinMemory => "within-memory",
        }
    }

    /// Whether a cluster can be without it where its operator wants that. Without the others a strategy
    /// gives no table, or not every client the same one, and no operator can want that.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::ZonesDistinct
                | Self::Balanced
                | Self::HonoursWeights
                | Self::MovesLittleOnJoin
                | Self::MovesLittleOnLeave
        )
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Property {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Property {
    /// As [`Property::from_str`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A name that is no property's.
#[derive(Debug, thiserror::Error)]
#[error("there is no property {name:?} that a strategy may lack; those are {known}")]
pub struct UnknownProperty {
    name: String,
    known: String,
}

impl FromStr for Property {
    type Err = UnknownProperty;

    /// The property that may be lacked and has this name.
    fn from_str(name: &str) -> Result<Self, UnknownProperty> {
        let mut optional = Self::ALL.into_iter().filter(|it| it.is_optional());
        optional.clone().find(|it| it.name() == name).ok_or_else(|| {
            let first = optional.next().map_or("", Self::name).to_owned();
            let known = optional.fold(first, |known, it| known + ", " + it.name());
            UnknownProperty { name: name.to_owned(), known }
        })
    }
}
