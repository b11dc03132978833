//! What commands ask of the rebalances of one cluster.

use std::time::{Duration, Instant};

use kv_core::layout::Layout;
use kv_core::name::Name;
use kvclient::ClientConfig;
use kvclient::admin::{Connections, Discovery};
use kvclient::limits::LAYOUT_LOOK_INTERVAL;
use uuid::Uuid;

use crate::ask::Asker;
use crate::change::Addition;
use crate::desired_states::{self, Launched};
use crate::error::RebalanceError;
use crate::fsck::{self, FsckReport};
use crate::launch::{self, Launch};
use crate::limits::RESTORE_WAIT;
use crate::progress::Progress;
use crate::seen::look;
use crate::spares::{self, Wanted};
use crate::{give_up, lock};

/// Plans and runs the rebalances of one cluster.
pub struct Rebalancer {
    pub(crate) discovery: Discovery,
    pub(crate) connections: Connections,
    /// How this process is called in what it tells others.
    pub(crate) name: String,
}

impl Rebalancer {
    /// Connects to the cluster that `config` names, which must have a layout.
    ///
    /// # Errors
    /// This machine gives no thread or no sockets, or `config`'s strategy cannot be loaded.
    pub async fn connect(config: &ClientConfig) -> Result<Self, RebalanceError> {
        let connections = Connections::open()?;
        let discovery = config.within(Discovery::new(config)).await?.asking(&connections);
        Ok(Self { discovery, connections, name: own_name() })
    }

    /// The cluster's layout now.
    ///
    /// # Errors
    /// Consul cannot be asked, or there is none.
    pub async fn layout(&self) -> Result<Layout, RebalanceError> {
        Ok(look(&self.discovery).await?.view.layout)
    }

    /// Chooses nodes that are to join. Nothing is started yet.
    ///
    /// # Errors
    /// There are no such nodes.
    pub async fn choose(&self, wanted: &Wanted) -> Result<Vec<Addition>, RebalanceError> {
        let layout = self.layout_at_rest().await?;
        spares::choose(&self.discovery, &self.connections, &layout, wanted).await
    }

    /// Has those of the `nodes` started that do not run, on `wanted`'s host or anywhere, and waits until
    /// all of them do. Where `wanted` has no id, another one is taken where others take one at the same
    /// time. `told` is given a word on what happens. Those that are to run are noted in `launched`:
    /// where they are not wanted after all, [take them back](Self::take_back).
    ///
    /// # Errors
    /// One of them does not start, or runs with another weight or zone.
    pub async fn launch(
        &self,
        nodes: &mut [Addition],
        wanted: &Wanted,
        launched: &Launched,
        told: &(dyn Fn(&str) + Sync),
    ) -> Result<(), RebalanceError> {
        let layout = self.layout_at_rest().await?;
        let (host, renames) = (wanted.host.as_deref(), wanted.id.is_none());
        let how = Launch { host, renames, launched, told };
        launch::launch(&self.discovery, &layout, nodes, &how).await
    }

    /// Has nodes that were launched, and are not to join after all, stop again, and nobody start them
    /// later. Those that are members of the layout stay. `told` is given a word on each.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn take_back(
        &self,
        launched: &Launched,
        told: &(dyn Fn(&str) + Sync),
    ) -> Result<(), RebalanceError> {
        desired_states::take_back(&self.discovery, launched, told).await
    }

    pub(crate) async fn layout_at_rest(&self) -> Result<Layout, RebalanceError> {
        let layout = self.layout().await?;
        match layout.rebalance {
            None => Ok(layout),
            Some(_) => Err(RebalanceError::UnderWay { epoch: layout.epoch }),
        }
    }

    /// What the mover at work tells of itself, `None` where no mover is at work.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn progress(&self) -> Result<Option<Progress>, RebalanceError> {
        Ok(lock::progress_of_mover(&self.discovery.registry).await?)
    }

    /// Tells a node that is no member to stop once it stores nothing.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn tell_to_stop(&self, id: &Name, uuid: Uuid) -> Result<(), RebalanceError> {
        desired_states::desire_stop(&self.discovery, id, uuid).await
    }

    /// Waits until a node that was told to stop has. Returns whether it was so within `within`.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn has_stopped(
        &self,
        id: &Name,
        uuid: Uuid,
        within: Duration,
    ) -> Result<bool, RebalanceError> {
        desired_states::await_stop(&self.discovery, id, uuid, within).await
    }

    /// The registered nodes with these ids, where all of them are and none is a member.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn spares(&self, ids: &[Name]) -> Result<Option<Vec<(Name, Uuid)>>, RebalanceError> {
        let layout = self.layout().await?;
        spares::spares_with(&self.discovery, &layout, ids).await
    }

    /// Whether all these ids are of nodes that are no members and do not run, and that are desired to.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn are_only_signalled(&self, ids: &[Name]) -> Result<bool, RebalanceError> {
        let layout = self.layout().await?;
        for id in ids {
            let is_member = layout.members().iter().any(|it| it.id == *id);
            if is_member || !desired_states::is_wanted(&self.discovery, id).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a rebalance that nodes hold up which are gone for good: everything stays where it is just
    /// then. Where none is under way, nothing is done.
    ///
    /// # Errors
    /// One of the nodes lives, or another one is needed and does not answer.
    pub async fn give_up(&self, lost: &[Uuid]) -> Result<(), RebalanceError> {
        give_up::give_up(&self.discovery, &self.connections, lost).await
    }

    /// Looks whether every key is stored where the layout says, and nowhere else, and whether nodes know how many
    /// they have. `told` is given the number of keys that were looked at, now and then.
    ///
    /// # Errors
    /// A node cannot be asked, or the layout changes meanwhile.
    pub async fn fsck(&self, told: &(dyn Fn(u64) + Sync)) -> Result<FsckReport, RebalanceError> {
        while_out_of_step(async || {
            let seen = look(&self.discovery).await?;
            let asker = Asker { connections: &self.connections, view: &seen.view };
            fsck::check(asker, told).await
        })
        .await
    }
}

/// Tries again for a while where Consul has an older layout than a node, which the nodes put right, or
/// where a node has not installed Consul's yet.
pub(crate) async fn while_out_of_step<T>(
    attempt: impl AsyncFn() -> Result<T, RebalanceError>,
) -> Result<T, RebalanceError> {
    let began = Instant::now();
    loop {
        match attempt().await {
            Err(RebalanceError::ConsulWentBack { .. } | RebalanceError::NodeBehind { .. })
                if began.elapsed() < RESTORE_WAIT =>
            {
                tokio::time::sleep(LAYOUT_LOOK_INTERVAL).await;
            }
            result => return result,
        }
    }
}

/// How this process is called in what it tells others.
fn own_name() -> String {
    let host = rustix::system::uname();
    format!("{} (process {})", host.nodename().to_string_lossy(), std::process::id())
}
