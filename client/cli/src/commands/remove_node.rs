//! `kvclient remove-node`: moves away what nodes have, then has them stop.

use std::time::Duration;

use clap::Args;
use kv_core::layout::Layout;
use kv_core::name::Name;
use kv_rebalance::{Change, Launched, Rebalancer};
use uuid::Uuid;

use super::rebalancing::{self, Carrying};
use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output};

/// Remove nodes: move away what they have, then have them stop
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient remove-node node-3
  kvclient remove-node node-3 --dry-run
  kvclient remove-node --dead node-3 --accept-data-loss    it will never come back")]
pub(crate) struct RemoveNode {
    /// Their ids
    #[arg(value_name = "ID", required_unless_present = "apply")]
    ids: Vec<Name>,
    /// They are gone for good, and what only they stored with them
    #[arg(long)]
    dead: bool,
    /// With --dead: yes, what only they stored is to be given up
    #[arg(long, requires = "dead")]
    accept_data_loss: bool,
    #[command(flatten)]
    carrying: Carrying,
}

/// How long a node may take to remove its old data and stop.
const STOP_WITHIN: Duration = Duration::from_secs(60);

impl RemoveNode {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { ids, dead, accept_data_loss, carrying } = self;
        let rebalancer = Rebalancer::connect(&session.config).await?;
        let applied = match &carrying.apply {
            Some(path) => Some(rebalancing::read_plan(&rebalancer, path).await?),
            None => None,
        };
        let (ids, dead) = match applied.as_ref().map(|plan| &plan.change) {
            Some(Change::Remove { ids, dead }) => (ids.clone(), *dead),
            Some(other) => {
                return Err(Failure::Usage(format!("the plan is to {other}, not to remove nodes")));
            }
            None => (ids, dead),
        };
        let mut layout = rebalancer.layout().await?;
        if dead && layout.rebalance.is_some() && !carrying.dry_run {
            layout = give_up(&rebalancer, &layout, &ids, accept_data_loss).await?;
        }
        let leaving = leaving(&layout, &ids);
        if leaving.is_empty() && !dead && !carrying.dry_run {
            // They are no members, so there is nothing to move.
            if let Some(spares) = rebalancer.spares(&ids).await? {
                return stop(&rebalancer, &spares).await;
            }
            if rebalancer.are_only_signalled(&ids).await? {
                return Ok(rebalancer.take_back(&Launched::of(&ids), &output::note).await?);
            }
        }
        let change = Change::Remove { ids, dead };
        if carrying.dry_run || (dead && !accept_data_loss) {
            let prepared = rebalancer.plan(change).await?;
            rebalancing::print(session, &prepared.plan)?;
            if carrying.dry_run {
                return Ok(());
            }
            return Err(Failure::Usage(
                "nothing was done, since data would be lost: add --accept-data-loss to go on all the same"
                    .into(),
            ));
        }
        rebalancing::carry_out(session, &rebalancer, change, &carrying, applied.as_ref()).await?;
        if !dead {
            return stop(&rebalancer, &leaving).await;
        }
        for (id, _) in &leaving {
            output::note(&format!("node {id} was given up, with what only it stored"));
        }
        Ok(())
    }
}

fn leaving(layout: &Layout, ids: &[Name]) -> Vec<(Name, Uuid)> {
    let members = layout.placement.members.iter().filter(|member| ids.contains(&member.id));
    members.map(|member| (member.id.clone(), member.uuid)).collect()
}

/// Ends a rebalance that dead nodes hold up.
async fn give_up(
    rebalancer: &Rebalancer,
    layout: &Layout,
    ids: &[Name],
    accept_data_loss: bool,
) -> Result<Layout, Failure> {
    if !accept_data_loss {
        return Err(Failure::Usage(
            "a rebalance is under way, and what these nodes were to give or had taken in it would be lost \
             with all that only they stored; nothing was done: add --accept-data-loss to end the \
             rebalance and give them up all the same"
                .into(),
        ));
    }
    let lost: Vec<Uuid> = layout
        .members()
        .into_iter()
        .filter(|member| ids.contains(&member.id))
        .map(|member| member.uuid)
        .collect();
    rebalancer.give_up(&lost).await?;
    output::note("the rebalance was ended; everything stays where it is, but for what is lost");
    Ok(rebalancer.layout().await?)
}

/// Has nodes stop that own nothing any more, and waits for it unless the user presses Ctrl-C.
async fn stop(rebalancer: &Rebalancer, nodes: &[(Name, Uuid)]) -> Result<(), Failure> {
    for (id, uuid) in nodes {
        rebalancer.tell_to_stop(id, *uuid).await?;
    }
    let waiting = async {
        for (id, uuid) in nodes {
            if rebalancer.has_stopped(id, *uuid, STOP_WITHIN).await? {
                output::note(&format!("node {id} has stopped"));
            } else {
                output::note(&format!(
                    "node {id} owns nothing any more and was told to stop; it is still at it, and its log says what \
                     keeps it, as may `kvclient status`"
                ));
            }
        }
        Ok(())
    };
    tokio::select! {
        result = waiting => result,
        () = interrupt::asked() => {
            output::note("all of them own nothing any more and were told to stop");
            Err(Failure::Interrupted)
        }
    }
}
