//! Publishing a past layout again, where somebody has put another one in its place.
//!
//! It is a step that no rebalance takes: nothing is moved, and the nodes judge whether they can follow.
//! Those that kept what they had under that layout serve it again; one whose partitions were moved on
//! since refuses it, says so, and goes on as it is.

use std::time::Instant;

use kv_consul::Read;
use kv_core::layout::Layout;
use kv_protocol::consul_keys;

use super::error::RebalanceError;
use crate::cluster::Registry;
use crate::error::ClientError;
use crate::history;
use crate::limits::RESTORE_WAIT;

/// Publishes the layout of the epoch `wanted` as the next one. Returns it.
pub(crate) async fn restore(registry: &Registry, wanted: u64) -> Result<Layout, RebalanceError> {
    loop {
        let deadline = Instant::now() + RESTORE_WAIT;
        let Some(found) = registry.document(Read::consistent(), deadline).await?.value else {
            let cluster = registry.cluster.to_string();
            return Err(ClientError::NoLayout { cluster }.into());
        };
        let current = found.layout;
        let past = history::kept(registry, &current).await?;
        let Some(past_layout) = past.iter().find(|it| it.epoch == wanted) else {
            let epochs: Vec<String> = past.iter().map(|it| it.epoch.to_string()).collect();
            return Err(RebalanceError::Refused(match epochs.is_empty() {
                true => format!("no layout of epoch {wanted} is kept in Consul, nor any other"),
                false => format!(
                    "no layout of epoch {wanted} is kept in Consul; those that are have the epochs {}",
                    epochs.join(", ")
                ),
            }));
        };
        let next = after(&current, past_layout)?;
        // Who reads it has to be able to use it.
        registry.tables(&next).await?;
        let key = consul_keys::layout(&registry.cluster);
        if registry.consul.kv_put_cas(&key, &next.to_json(), found.modify_index).await? {
            return Ok(next);
        }
    }
}

/// The layout that says what `past` says, and follows `current`.
fn after(current: &Layout, past: &Layout) -> Result<Layout, RebalanceError> {
    let epoch = current.epoch.checked_add(1).ok_or_else(|| {
        RebalanceError::Refused(format!("no epoch comes after {}", current.epoch))
    })?;
    if (Layout { epoch: current.epoch, ..past.clone() }) == *current {
        return Err(RebalanceError::NothingToDo(format!(
            "the layout of epoch {} says what that of epoch {} says",
            current.epoch, past.epoch
        )));
    }
    Ok(Layout { epoch, ..past.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_is_restored_follows_what_is_there_and_is_not_what_is_there() {
        let (past, _) = sample::layout(&[0, 1], 2);
        let (other, _) = sample::placement(&[1, 1], 2);
        let forged = Layout { epoch: 1001, placement: other, ..past.clone() };
        let next = after(&forged, &past).unwrap();
        assert_eq!((next.epoch, &next.placement), (1002, &past.placement));
        let same = after(&Layout { epoch: 7, ..past.clone() }, &past);
        assert!(matches!(same, Err(RebalanceError::NothingToDo(_))), "{same:?}");
        let last = after(&Layout { epoch: u64::MAX, ..forged }, &past);
        assert!(matches!(last, Err(RebalanceError::Refused(_))), "{last:?}");
    }
}
