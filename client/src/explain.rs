//! Why a key is where it is: the strategy's ranking of the nodes for its partition, and what has changed
//! since an earlier epoch.

use std::time::Instant;

use kv_core::digest::Digest;
use kv_core::layout::{Layout, Member, Origin, Placement};
use kv_core::limits::REPLICAS_MAX;
use kv_core::partition::Partition;
use kv_placement::{StrategyError, StrategyFault};

use crate::config::ClientConfig;
use crate::discovery::Discovery;
use crate::error::ClientError;
use crate::executor::check_key;
use crate::placement::{TableRequest, table};

/// Why a key is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The key's partition, which never changes.
    pub partition: Partition,
    /// How many partitions there are.
    pub partitions: u32,
    /// Where the key is now or, while it may be moving, where it was before.
    pub now: Choice,
    /// Where it is to be once the rebalance that is under way is done, where one is.
    pub next: Option<(Choice, Cause)>,
    /// Where it was in the epoch that was asked for or, without one, before it moved last; with the
    /// reason why it is where it is now.
    pub before: Option<(Choice, Cause)>,
    /// The first epoch that anything is known of.
    pub known_since: u64,
}

/// What a strategy chose for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The layout's epoch.
    pub epoch: u64,
    /// The nodes in the strategy's order of preference, the owner first. A strategy that does not place
    /// replicas names only the owner.
    pub candidates: Vec<String>,
    /// What the strategy calls itself.
    pub strategy: String,
    /// The strategy's digest.
    pub strategy_digest: Digest,
}

/// Why an owner is another one than before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The owner is the same.
    Same,
    /// Another strategy was adopted.
    Strategy,
    /// The strategy was given other settings.
    Config,
    /// The owner from before is no member any more.
    Left,
    /// The new owner has become a member.
    Joined,
    /// The weight or the zone of one of the two has changed.
    Reweighted,
    /// Other members came, left or changed, and the strategy moved it between two that stayed.
    Rearranged,
}

/// Explains where `key` is, compared with where it was in `epoch` or, without one, with where it was before
/// it moved last. Nothing is changed, and no node is asked.
///
/// # Errors
/// Consul cannot be asked, there is no layout, or nothing is kept of that epoch.
pub async fn explain(
    config: &ClientConfig,
    key: &str,
    epoch: Option<u64>,
) -> Result<Explanation, ClientError> {
    check_key(key)?;
    config.within(explain_within(config, key, epoch)).await
}

async fn explain_within(
    config: &ClientConfig,
    key: &str,
    epoch: Option<u64>,
) -> Result<Explanation, ClientError> {
    let discovery = Discovery::new(config).await?;
    let found = discovery.layout(Instant::now() + config.timeout).await?.value;
    let layout =
        found.ok_or_else(|| ClientError::NoLayout { cluster: config.cluster.to_string() })?;
    let past = discovery.registry.past_layouts_of(layout.cluster, layout.epoch).await?;
    let partition = layout.partitions.partition_of(key);
    let known_since = past.first().map_or(layout.epoch, |first| first.epoch);
    let choose = |layout, placement| choose(&discovery, layout, placement, partition);
    let now = choose(&layout, &layout.placement).await?;
    let next = match &layout.rebalance {
        Some(rebalance) => {
            let next = choose(&layout, &rebalance.to).await?;
            let cause = cause((&now, &layout.placement), (&next, &rebalance.to));
            Some((next, cause))
        }
        None => None,
    };
    let compare = |choice: Choice, then: &Layout| {
        let cause = cause((&choice, &then.placement), (&now, &layout.placement));
        Some((choice, cause))
    };
    let before = match epoch {
        Some(epoch) if epoch >= known_since && epoch <= layout.epoch => {
            let then = past.iter().rfind(|then| then.epoch <= epoch && epoch < layout.epoch);
            let then = then.unwrap_or(&layout);
            compare(choose(then, &then.placement).await?, then)
        }
        Some(wanted) => {
            let (first, last) = (known_since, layout.epoch);
            return Err(ClientError::UnknownEpoch { wanted, first, last });
        }
        None => {
            let mut before = None;
            for then in past.iter().rev() {
                // The others are ranked only where they are shown, for that takes another table.
                let owners = owners(&discovery, then, &then.placement, partition).await?;
                let owner = owners.first().and_then(|owner| id(&then.placement, *owner));
                if owner.as_ref() != now.candidates.first() {
                    before = compare(choose(then, &then.placement).await?, then);
                    break;
                }
            }
            before
        }
    };
    let partitions = layout.partitions.get();
    Ok(Explanation { partition, partitions, now, next, before, known_since })
}

/// What one of `layout`'s placements chose for a partition.
async fn choose(
    discovery: &Discovery,
    layout: &Layout,
    placement: &Placement,
    partition: Partition,
) -> Result<Choice, ClientError> {
    let mut ranks = owners(discovery, layout, placement, partition).await?;
    if placement.origin == Origin::Strategy {
        let replicas = REPLICAS_MAX.min(placement.members.len() as u32);
        let question = TableRequest { replicas, ..TableRequest::of(layout, placement) };
        let strategy = discovery.pinned_strategy(&placement.strategy).await?;
        match table(&strategy, question).await {
            Ok(ranked) => {
                let others = ranked.owners(partition).iter().filter(|node| !ranks.contains(node));
                let others: Vec<u16> = others.copied().collect();
                ranks.extend(others);
            }
            Err(ClientError::Strategy(error)) if is_declined(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Choice {
        epoch: layout.epoch,
        candidates: ranks.iter().filter_map(|&index| id(placement, index)).collect(),
        strategy: placement.strategy.name.clone(),
        strategy_digest: placement.strategy.sha256,
    })
}

/// The owners of a partition in one of `layout`'s placements, as indexes of its members, the best first.
async fn owners(
    discovery: &Discovery,
    layout: &Layout,
    placement: &Placement,
    partition: Partition,
) -> Result<Vec<u16>, ClientError> {
    let at_rest = Layout { placement: placement.clone(), rebalance: None, ..layout.clone() };
    let tables = discovery.tables(&at_rest).await?;
    Ok(tables.first().map(|table| table.owners(partition).to_vec()).unwrap_or_default())
}

/// The id of the member with this index.
fn id(placement: &Placement, index: u16) -> Option<String> {
    placement.members.get(usize::from(index)).map(|member| member.id.to_string())
}

fn is_declined(error: &StrategyError) -> bool {
    matches!(error.fault(), StrategyFault::Unsupported(_))
}

/// Why the owner in the second of two placements is another one than in the first.
fn cause(before: (&Choice, &Placement), after: (&Choice, &Placement)) -> Cause {
    let owner = |choice: &Choice| choice.candidates.first().cloned().unwrap_or_default();
    let (old, new) = (owner(before.0), owner(after.0));
    if old == new {
        return Cause::Same;
    }
    let (before, after) = (before.1, after.1);
    if before.strategy.sha256 != after.strategy.sha256 {
        return Cause::Strategy;
    }
    if before.strategy.config != after.strategy.config {
        return Cause::Config;
    }
    let member = |placement: &Placement, id: &str| -> Option<Member> {
        placement.members.iter().find(|it| it.id.as_str() == id).cloned()
    };
    let has_changed = |id: &str| match (member(before, id), member(after, id)) {
        (Some(before), Some(after)) => (before.weight, before.zone) != (after.weight, after.zone),
        _ => false,
    };
    if member(after, &old).is_none() {
        Cause::Left
    } else if member(before, &new).is_none() {
        Cause::Joined
    } else if has_changed(&old) || has_changed(&new) {
        Cause::Reweighted
    } else {
        Cause::Rearranged
    }
}
