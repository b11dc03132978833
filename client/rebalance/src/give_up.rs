//! Ending a rebalance that nodes which are gone for good hold up.
//!
//! What moves between other nodes is copied and verified first; then everything stays where it is, by
//! a table that no strategy computed. The next rebalance goes on from there.

use std::collections::HashMap;
use std::time::Instant;

use kv_core::layout::{Layout, Phase, Table};
use kvclient::ClientError;
use kvclient::admin::{Connections, Discovery};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::ask::{Asker, Trouble};
use crate::error::RebalanceError;
use crate::limits::{MOVER_NODE_WAIT, MOVER_TURN_PAUSE};
use crate::seen::{look, set};
use crate::throttle::Throttle;
use crate::transfer::{Transfer, unverified};

/// Ends the rebalance, if one is under way. The data directories in `lost` are given up.
pub(crate) async fn give_up(
    discovery: &Discovery,
    connections: &Connections,
    lost: &[Uuid],
) -> Result<(), RebalanceError> {
    let began = Instant::now();
    loop {
        let seen = look(discovery).await?;
        let layout = &seen.view.layout;
        let Some(rebalance) = &layout.rebalance else { return Ok(()) };
        let asker = Asker { connections, view: &seen.view };
        check_gone(discovery, asker, lost).await?;
        let is_open = rebalance.window.is_some_and(|it| it.phase == Phase::Migrating);
        match if is_open { save(asker, lost).await } else { Ok(()) } {
            Ok(()) => {}
            Err(Trouble::Later { node, problem }) if began.elapsed() > MOVER_NODE_WAIT => {
                let advice = "start it, and try again, or give it up as well".into();
                return Err(RebalanceError::NodeDown { node, problem, advice });
            }
            Err(Trouble::Behind { node, problem }) if began.elapsed() > MOVER_NODE_WAIT => {
                let advice =
                    "see that it reaches Consul, and try again, or give it up as well".into();
                return Err(RebalanceError::NodeBehind { node, problem, advice });
            }
            Err(Trouble::Changed) if began.elapsed() > MOVER_NODE_WAIT => {
                return Err(RebalanceError::out_of_step(layout.epoch));
            }
            Err(Trouble::Later { .. } | Trouble::Behind { .. } | Trouble::Changed) => {
                tokio::time::sleep(MOVER_TURN_PAUSE).await;
                continue;
            }
            Err(Trouble::Never(error)) => return Err(error.into()),
        }
        let owners = seen.view.assignments.survivors(lost);
        let nodes = seen.view.assignments.nodes().len();
        let table = Table::new(&owners, layout.partitions, layout.replicas, nodes)
            .map_err(ClientError::from)?;
        let digest = discovery.registry.put_table(&table, layout.epoch).await?;
        let given_up: Layout = layout.give_up(digest)?;
        if set(discovery, &seen, &given_up).await? {
            return Ok(());
        }
    }
}

/// Makes sure that the nodes which are given up do not live.
async fn check_gone(
    discovery: &Discovery,
    asker: Asker<'_>,
    lost: &[Uuid],
) -> Result<(), RebalanceError> {
    for uuid in lost {
        let Some(node) = asker.view.assignments.index_of(*uuid) else { continue };
        if !asker.view.is_reachable(node) {
            discovery.check_sees_all().await?;
        }
        if asker.status(node).await.is_ok() {
            let name = asker.name(node);
            return Err(RebalanceError::Refused(format!(
                "node {name} is alive: `kvclient rebalance resume`, or abort, and then `kvclient \
                 remove-node {name}`, lose nothing"
            )));
        }
    }
    Ok(())
}

/// Copies and verifies what moves between nodes that live.
async fn save(asker: Asker<'_>, lost: &[Uuid]) -> Result<(), Trouble> {
    let throttle = Mutex::new(Throttle::new(None));
    let transfer = Transfer { asker, throttle: &throttle, copied: &|_| {}, lost };
    transfer.copy(&mut HashMap::new()).await?;
    match transfer.verify().await? {
        None => Ok(()),
        Some(difference) => {
            let problem = unverified(asker, &difference).to_string();
            Err(Trouble::Later { node: asker.name(difference.pair.destination), problem })
        }
    }
}
