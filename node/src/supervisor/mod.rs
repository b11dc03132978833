//! Seeing to it that the nodes which are wanted run: which supervisor is to start which one, and when.
//!
//! A node whose desired state says `running` is to run for as long as the desired state is there. One that is not
//! up, which is that it is not registered, or critical, and that no process here has its data
//! directory, is taken up by a supervisor on its host: it writes itself into the desired state by
//! compare-and-set, so that of several only one does, and then starts the process. The desired state is the
//! lock and the order in one, and nothing is left to clean up after a supervisor that dies: when its
//! attempt has brought nothing for a while, another makes a new one (see [`crate::attempts`]).
//!
//! Any process that can write to Consul can want nodes. How many run and are started at a time is bounded (see
//! [`crate::launch_room`]); those beyond wait.
//!
//! That two processes never serve as one node does not depend on any of this: the lock of the data
//! directory and the claim on the id see to it.

mod order;
mod telling;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kv_consul::{CheckStatus, Read, ServiceInstance};
use kv_core::name::Name;
use kv_registry::Registry;
use kv_registry::desired_state::{DesiredState, Launcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use uuid::Uuid;

pub use self::order::{Described, Order, Start};
use crate::attempts::{Attempts, Next};
use crate::data_directory::is_held;
use crate::desired_states::DesiredStates;
use crate::identity::Identity;
use crate::launch_room::{self, Launch, Room};
use crate::layouts::LayoutsError;

/// How long a node that was started counts as being started, where it neither comes up nor ends. It
/// holds its data directory by then, and so counts among those that run.
const UNDER_WAY_MAX: Duration = Duration::from_secs(60);
/// When to look again whether there is room for another launch.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// Starts the nodes of one cluster that are wanted here.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Where the cluster's desired states and nodes are.
    pub registry: Registry,
    /// What it is called in the desired states that it takes up.
    pub name: String,
    /// The host whose nodes it starts; `None` for those of every host.
    pub host: Option<String>,
    /// The directory under which its nodes have their data.
    pub root: PathBuf,
    /// How long an attempt to start a node is given.
    pub within: Duration,
    /// The most nodes that are to run under `root`.
    pub nodes_max: usize,
}

/// What one supervisor remembers.
struct Memory {
    attempts: Attempts,
    /// The launches that have brought nothing yet.
    under_way: BTreeMap<Name, UnderWay>,
    /// What was said last of why wanted nodes are not started.
    told: Option<String>,
}

/// A node that is being started.
struct UnderWay {
    _launch: Launch,
    /// Finished when there is nothing more to come from it.
    start: JoinHandle<()>,
    /// When it is not waited for any more.
    until: Instant,
}

/// What came of the turn of a node that is due.
enum Turn {
    /// It was looked after.
    Taken,
    /// It stays due, and so do those after it.
    NoRoom {
        /// When to look for room again, unless something changes before.
        again: Duration,
    },
}

/// A node that is wanted here.
#[derive(Clone, Debug)]
struct Wanted {
    id: Name,
    described: Described,
    /// The host, as the desired state names it.
    host: Option<String>,
    launcher: Option<Launcher>,
    index: u64,
}

impl Supervisor {
    /// Starts the wanted nodes, by `start`, until this future is dropped or `desired_states` ends.
    pub async fn run(&self, desired_states: watch::Receiver<DesiredStates>, start: &impl Start) {
        let (is_wanted, wanted) = watch::channel(false);
        let (news, nodes) = watch::channel(None);
        tokio::select! {
            () = self.follow_nodes(wanted, news) => {}
            () = self.act(desired_states, nodes, is_wanted, start) => {}
        }
    }

    /// Reports how the nodes are, as long as there are any to look after.
    async fn follow_nodes(
        &self,
        mut wanted: watch::Receiver<bool>,
        news: watch::Sender<Option<Vec<ServiceInstance>>>,
    ) {
        let mut watch = self.registry.instance_changes();
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            match watch.next().await {
                Ok(nodes) => {
                    news.send_replace(Some(nodes.value));
                }
                Err(error) => debug!("cannot follow the nodes: {error}; trying on"),
            }
        }
    }

    async fn act(
        &self,
        mut desired_states: watch::Receiver<DesiredStates>,
        mut nodes: watch::Receiver<Option<Vec<ServiceInstance>>>,
        is_wanted: watch::Sender<bool>,
        start: &impl Start,
    ) {
        let mut memory =
            Memory { attempts: Attempts::new(self.within), under_way: BTreeMap::new(), told: None };
        loop {
            let wanted = self.wanted(&desired_states.borrow_and_update());
            memory.attempts.retain(|id| wanted.contains_key(id));
            let any = !wanted.is_empty();
            is_wanted.send_if_modified(|is| std::mem::replace(is, any) != any);
            let known = nodes.borrow_and_update().clone();
            let next_look = match known {
                Some(known) => self.look(&wanted, &known, &mut memory, start).await,
                None => None,
            };
            let time = async {
                match next_look {
                    Some(time) => tokio::time::sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = desired_states.changed() => if changed.is_err() { return },
                changed = nodes.changed() => if changed.is_err() { return },
                () = time => {}
            }
        }
    }

    /// Starts those of the `wanted` nodes that are due, as far as there is room. Returns when to look
    /// again, if nothing changes until then.
    async fn look(
        &self,
        wanted: &BTreeMap<Name, Wanted>,
        known: &[ServiceInstance],
        memory: &mut Memory,
        start: &impl Start,
    ) -> Option<Instant> {
        let now = Instant::now();
        memory
            .under_way
            .retain(|id, it| !self.is_up(id, known) && !it.start.is_finished() && now < it.until);
        let mut next_look: Option<Instant> = None;
        // When to go on with those for which there was no room.
        let mut room_again = None;
        for (id, wanted) in wanted {
            let attempt = wanted.launcher.as_ref().map(|it| it.attempt);
            let is_up = self.is_up(id, known);
            let due = match memory.attempts.judge(id, attempt, is_up, Instant::now()) {
                Next::Nothing => continue,
                Next::Wait(until) => until,
                Next::Start if room_again.is_some() => continue,
                Next::Start => match self.start_in_turn(wanted, memory, start).await {
                    Turn::Taken => Instant::now() + self.within,
                    Turn::NoRoom { again } => *room_again.insert(Instant::now() + again),
                },
            };
            next_look = Some(next_look.map_or(due, |other| other.min(due)));
        }
        next_look
    }

    /// Has a node that is due looked after.
    async fn start_in_turn(
        &self,
        wanted: &Wanted,
        memory: &mut Memory,
        start: &impl Start,
    ) -> Turn {
        let id = &wanted.id;
        let until = Instant::now() + self.within;
        let launch = match launch_room::find(&self.root, id, self.nodes_max) {
            Ok(Room::Free(launch)) => launch,
            Ok(Room::Busy) => return Turn::NoRoom { again: ROOM_AGAIN },
            Ok(Room::Full) => {
                self.tell_waiting(wanted, memory, self.full()).await;
                memory.attempts.postpone(id, until);
                return Turn::NoRoom { again: self.within };
            }
            Err(error) => {
                let root = self.root.display();
                let reason = format!("{root} cannot be used to start nodes: {error}");
                self.tell_waiting(wanted, memory, reason).await;
                memory.attempts.postpone(id, until);
                return Turn::NoRoom { again: self.within };
            }
        };
        match self.take_up(wanted, start).await {
            Ok(Some(start)) => {
                let given_up = Instant::now() + UNDER_WAY_MAX.max(self.within);
                let under_way = UnderWay { _launch: launch, start, until: given_up };
                memory.under_way.insert(id.clone(), under_way);
                memory.told = None;
            }
            Ok(None) => memory.told = None,
            // Consul is seen to be away by all that need it.
            Err(LayoutsError::Consul(error)) => debug!("{id} could not be taken up: {error}"),
            Err(error) => {
                let reason = format!("whether {id} is a member cannot be told: {error}");
                self.tell_waiting(wanted, memory, reason).await;
            }
        }
        memory.attempts.postpone(id, until);
        Turn::Taken
    }

    /// The nodes that are wanted here.
    fn wanted(&self, desired_states: &DesiredStates) -> BTreeMap<Name, Wanted> {
        let wanted = desired_states.iter().filter_map(|(id, state)| {
            let DesiredState::Running { host, weight, zone, launcher } = &state.value else {
                return None;
            };
            let elsewhere = host.is_some() && self.host.is_some() && *host != self.host;
            let described = Described { weight: *weight, zone: zone.clone() };
            let (host, launcher) = (host.clone(), launcher.clone());
            let index = state.index;
            let wanted = Wanted { id: id.clone(), described, host, launcher, index };
            (!elsewhere).then(|| (id.clone(), wanted))
        });
        wanted.collect()
    }

    fn is_up(&self, id: &Name, nodes: &[ServiceInstance]) -> bool {
        let service_id = self.registry.service_id(id);
        nodes.iter().any(|it| it.id == service_id && it.status != CheckStatus::Critical)
    }

    /// Starts a node, unless it runs, is another supervisor's to start, or another one was faster. Where it
    /// does, the task that starts it is returned.
    async fn take_up(
        &self,
        wanted: &Wanted,
        start: &impl Start,
    ) -> Result<Option<JoinHandle<()>>, LayoutsError> {
        let order = Order { id: wanted.id.clone(), described: Some(wanted.described.clone()) };
        let nodes = self.registry.instances(Read::consistent()).await?;
        if self.is_up(&order.id, &nodes) {
            return Ok(None);
        }
        let directory = self.root.join(order.id.as_str());
        if is_held(&directory) {
            debug!("{} is starting, or hangs: its data directory is held", order.id);
            return Ok(None);
        }
        let layout = self.registry.layout_now().await?;
        let members = layout.iter().flat_map(|it| it.value.members());
        if let Some(member) = members.into_iter().find(|it| it.id == order.id) {
            // It is started where its data is, or nowhere.
            let here = Identity::read(&directory).ok().flatten();
            if here.is_none_or(|here| here.uuid != member.uuid) {
                debug!("{} has its data elsewhere", order.id);
                return Ok(None);
            }
        }
        let attempt = Uuid::new_v4();
        let launcher = Launcher { name: self.name.clone(), attempt, failure: None };
        if !self.write_launcher(wanted, launcher).await? {
            return Ok(None);
        }
        info!("{} is wanted: starting it", order.id);
        let id = order.id.clone();
        let (tell, started) = (self.clone(), start.start(order));
        Ok(Some(tokio::spawn(async move {
            if let Err(failure) = started.await {
                warn!("{id} does not run: {failure}");
                tell.tell_failure(&id, attempt, failure).await;
            }
        })))
    }
}
