//! The layout's document: how a layout lies in Consul and on nodes' disks.
//!
//! It is JSON, and short, since every step makes everybody read it. The lists of members lie beside it under their
//! digests, as tables and strategies do, and so does the standing, where it says anything: these are the document's
//! [`Blob`]s, and [`Document::layout`] puts them together. Documents of the format before, in which the members stand
//! in the document itself, and which have no standing, are read as well; they change only by [`Layout::upgrade`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Blob, Goal, Layout, LayoutError, Member, Origin, Placement, Rebalance, Standing, StrategyPin,
    Window,
};
use crate::digest::Digest;
use crate::partition::PartitionCount;

/// The version of the document's own shape. A program refuses one that it was not written for.
pub const LAYOUT_FORMAT: u32 = 3;
/// The format before, in which the members stand in the document.
pub const LAYOUT_FORMAT_BEFORE: u32 = 2;

/// A layout document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// Of [`LAYOUT_FORMAT_BEFORE`].
    Inline(LayoutShape<Vec<Member>>),
    /// Of [`LAYOUT_FORMAT`].
    ByDigest(LayoutShape<Digest>),
}

/// A [`Layout`] with its members in the form `M`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutShape<M> {
    format: u32,
    cluster: Uuid,
    epoch: u64,
    partitions: PartitionCount,
    replicas: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_in_sync: Option<u32>,
    placement: PlacementShape<M>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    rebalance: Option<RebalanceShape<M>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacementShape<M> {
    strategy: StrategyPin,
    members: M,
    table: Digest,
    #[serde(default, skip_serializing_if = "Origin::is_strategy")]
    origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RebalanceShape<M> {
    to: PlacementShape<M>,
    goal: Goal,
    settled: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(default)]
    paused: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Uuid>,
}

fn none<T>() -> Option<T> {
    None
}

impl Document {
    /// Reads a layout document.
    ///
    /// # Errors
    /// [`LayoutError`] where it is no document of a format that this program reads. Whether it is a valid layout
    /// is found out when it is [put together](Self::layout).
    pub fn parse(json: &[u8]) -> Result<Self, LayoutError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let Format { format } = serde_json::from_slice(json)?;
        match u32::try_from(format) {
            Ok(LAYOUT_FORMAT) => Ok(Self(Shape::ByDigest(serde_json::from_slice(json)?))),
            Ok(LAYOUT_FORMAT_BEFORE) => Ok(Self(Shape::Inline(serde_json::from_slice(json)?))),
            _ => Err(LayoutError::Format { found: format }),
        }
    }

    /// The document of a layout.
    #[must_use]
    pub fn of(layout: &Layout) -> Self {
        Self(match layout.format {
            LAYOUT_FORMAT_BEFORE => Shape::Inline(shape(layout, |placement| PlacementShape {
                replicas: None,
                ..placement_shape(placement, placement.members.clone())
            })),
            _ => Shape::ByDigest(shape(layout, |placement| {
                placement_shape(placement, placement.members_digest())
            })),
        })
    }

    /// What lies beside it: the lists of members, each once, and the standing.
    #[must_use]
    pub fn blobs(&self) -> Vec<Blob> {
        let Shape::ByDigest(shape) = &self.0 else { return Vec::new() };
        let to = shape.rebalance.iter().map(|it| it.to.members);
        let lists = std::iter::once(shape.placement.members).chain(to).map(Blob::Members);
        let mut blobs: Vec<Blob> = lists.collect();
        blobs.dedup();
        blobs.extend(shape.standing.map(Blob::Standing));
        blobs
    }

    /// The layout, with the bytes of what [`Document::blobs`] names, in that order.
    ///
    /// # Errors
    /// [`LayoutError`] where a blob is missing or another one, or all together are no valid layout.
    pub fn layout(self, blobs: &[Vec<u8>]) -> Result<Layout, LayoutError> {
        let named = self.blobs();
        if let Some(missing) = named.get(blobs.len()) {
            return Err(missing.is_missing());
        }
        let (mut lists, mut standing) = (Vec::new(), Standing::default());
        for (blob, bytes) in named.iter().zip(blobs) {
            blob.check(bytes)?;
            match blob {
                Blob::Members(digest) => {
                    let members: Result<Vec<Member>, _> = serde_json::from_slice(bytes);
                    lists.push((digest, members.map_err(|it| blob.error(it.to_string()))?));
                }
                Blob::Standing(_) => standing = Standing::parse(bytes)?,
            }
        }
        let list = |digest: &Digest| {
            let found = lists.iter().find(|(it, _)| *it == digest);
            found.map(|(_, list)| list.clone()).ok_or_else(|| Blob::Members(*digest).is_missing())
        };
        let layout = match self.0 {
            Shape::Inline(shape) if shape.standing.is_some() => {
                let problem = format!("it has format {}, and a standing", shape.format);
                return Err(LayoutError::Invalid(problem));
            }
            Shape::Inline(shape) => layout(shape, standing, |members| Ok(members.clone()))?,
            Shape::ByDigest(shape) => layout(shape, standing, list)?,
        };
        layout.check().map_err(LayoutError::Invalid)?;
        Ok(layout)
    }

    /// The document's bytes, as few as possible, since Consul bounds them.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let json = match &self.0 {
            Shape::Inline(shape) => serde_json::to_vec(shape),
            Shape::ByDigest(shape) => serde_json::to_vec(shape),
        };
        json.expect("a layout holds only what JSON can say")
    }

    /// The digest of what the document says, by which nodes and clients make sure that they mean the
    /// same one. It is that of the document in a canonical form, indented by two spaces, and not of the
    /// bytes that were read: programs that write documents like that have the same digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let canonical = match &self.0 {
            Shape::Inline(shape) => serde_json::to_vec_pretty(shape),
            Shape::ByDigest(shape) => serde_json::to_vec_pretty(shape),
        };
        Digest::of(&canonical.expect("a layout holds only what JSON can say"))
    }
}

impl Placement {
    /// The list of its members, as it lies beside the document: JSON.
    #[must_use]
    pub fn members_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.members).expect("members hold only what JSON can say")
    }

    /// The digest of the list of its members.
    #[must_use]
    pub fn members_digest(&self) -> Digest {
        Digest::of(&self.members_json())
    }
}

fn shape<M>(
    layout: &Layout,
    placement: impl Fn(&Placement) -> PlacementShape<M>,
) -> LayoutShape<M> {
    let is_before = layout.format == LAYOUT_FORMAT_BEFORE;
    LayoutShape {
        format: layout.format,
        cluster: layout.cluster,
        epoch: layout.epoch,
        partitions: layout.partitions,
        replicas: layout.replicas,
        min_in_sync: (!is_before).then_some(layout.min_in_sync),
        placement: placement(&layout.placement),
        rebalance: layout.rebalance.as_ref().map(|it| RebalanceShape {
            to: placement(&it.to),
            goal: it.goal,
            settled: it.settled,
            window: it.window,
            paused: it.paused,
            lost: it.lost.clone(),
        }),
        standing: (!is_before && !layout.standing.is_silent()).then(|| layout.standing.digest()),
    }
}

fn placement_shape<M>(placement: &Placement, members: M) -> PlacementShape<M> {
    PlacementShape {
        strategy: placement.strategy.clone(),
        members,
        table: placement.table,
        origin: placement.origin,
        replicas: Some(placement.replicas),
    }
}

fn layout<M>(
    shape: LayoutShape<M>,
    standing: Standing,
    members: impl Fn(&M) -> Result<Vec<Member>, LayoutError>,
) -> Result<Layout, LayoutError> {
    let replicas = shape.replicas;
    let placement = |it: PlacementShape<M>| {
        Ok::<_, LayoutError>(Placement {
            members: members(&it.members)?,
            strategy: it.strategy,
            table: it.table,
            origin: it.origin,
            replicas: it.replicas.unwrap_or(replicas),
        })
    };
    let rebalance = |it: RebalanceShape<M>| {
        Ok::<_, LayoutError>(Rebalance {
            to: placement(it.to)?,
            goal: it.goal,
            settled: it.settled,
            window: it.window,
            paused: it.paused,
            lost: it.lost,
        })
    };
    Ok(Layout {
        format: shape.format,
        cluster: shape.cluster,
        epoch: shape.epoch,
        partitions: shape.partitions,
        replicas,
        min_in_sync: shape.min_in_sync.unwrap_or(1),
        placement: placement(shape.placement)?,
        rebalance: shape.rebalance.map(rebalance).transpose()?,
        standing,
    })
}
