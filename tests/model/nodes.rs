//! What nodes do by themselves: install layouts, clear and purge, die and come back.
//!
//! Which layouts they take and what they are under them, the real rules decide (`Installed::new`).

use kv_core::layout::Phase;
use kv_core::ownership::Role;
use kv_core::partition::Partition;

use crate::catalogue::{self, InstalledId, LayoutId, Step};
use crate::cluster::Model;
use crate::rules::Rule;
use crate::state::{Node, Record, State};

impl Model {
    /// The partition of the key of this number.
    pub(crate) fn partition(&self, key: usize) -> Partition {
        Partition(self.scenario.keys[key])
    }

    /// What the node is to a key under what it has installed.
    pub(crate) fn role(&self, installed: InstalledId, key: usize) -> Role {
        let role = self.catalogue.installed(installed).role(self.partition(key));
        role.expect("keys are in partitions")
    }

    /// Whether the node's status shows at least the epoch of a layout.
    pub(crate) fn acknowledges(&self, node: &Node, layout: LayoutId) -> bool {
        let installed = self.catalogue.installed(node.guard);
        let epoch = self.catalogue.layout(layout).layout.epoch;
        node.is_up && node.shows_epoch && installed.layout.epoch >= epoch
    }

    /// The node makes the layout that Consul has its own. With crashes about, that takes two steps.
    pub(crate) fn record(&self, state: &mut State, number: usize) -> Option<()> {
        let document = state.document;
        let crashes = state.budget.crashes > 0;
        let node = &mut state.nodes[number];
        if !node.is_up || node.recorded != node.guard {
            return None;
        }
        let installed = self.catalogue.installed(node.guard);
        if installed.layout.epoch >= self.catalogue.layout(document).layout.epoch {
            return None;
        }
        let next = self.install(number, node.guard, document)?;
        if self.keeps(Rule::WipesBeforeAcknowledging) && self.would_serve_unclear(node, next) {
            return None;
        }
        if self.keeps(Rule::RecordsBeforeActing) {
            node.recorded = next;
            if !crashes {
                self.swap(node, next);
            }
        } else {
            self.swap(node, next);
        }
        Some(())
    }

    /// What the node makes of a layout; `None` if it refuses it.
    fn install(&self, number: usize, own: InstalledId, layout: LayoutId) -> Option<InstalledId> {
        let found = self.catalogue.install(number, Some(own), layout);
        match found {
            // One that had nothing installed before can follow anything.
            None if !self.keeps(Rule::FollowsInOrder) => {
                Some(self.catalogue.install_unchecked(number, layout))
            }
            found => found,
        }
    }

    /// The second half of an install: requests are judged by the layout from here on. (Where that
    /// comes first, this makes the layout durable.)
    pub(crate) fn act_on_record(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &mut state.nodes[number];
        if !node.is_up || node.recorded == node.guard {
            return None;
        }
        if self.keeps(Rule::RecordsBeforeActing) {
            self.swap(node, node.recorded);
        } else {
            node.recorded = node.guard;
        }
        Some(())
    }

    fn swap(&self, node: &mut Node, next: InstalledId) {
        node.guard = next;
        node.shows_epoch = !self.keeps(Rule::WipesAtInstall)
            || !self.keeps(Rule::WipesBeforeAcknowledging)
            || self.unclear(node).next().is_none();
    }

    /// The keys of which there is something where something is to come.
    fn unclear(&self, node: &Node) -> impl Iterator<Item = usize> + '_ {
        let (guard, records) = (node.guard, node.records);
        let comes = move |key: &usize| self.role(guard, *key) == Role::FrozenDestination;
        (0..self.scenario.keys.len())
            .filter(move |key| records[*key] != Record::Absent)
            .filter(comes)
    }

    /// Whether a node may remove what it has of a key that is not its own: another node has it.
    ///
    /// The question, the answer and the removal are one moment. No client sees anything of the records
    /// meanwhile, so later is the same.
    fn may_remove(&self, state: &State, number: usize, key: usize) -> bool {
        let guard = state.nodes[number].guard;
        let installed = self.catalogue.installed(guard);
        let partition = self.partition(key);
        if installed.kept().contains_key(&partition) && self.keeps(Rule::KeepsWhatIsNotHandedOver) {
            return false;
        }
        let confirms = |node: &Node| {
            let theirs = self.catalogue.installed(node.guard).layout.epoch;
            node.is_up && theirs >= installed.layout.epoch && self.role(node.guard, key).holds()
        };
        let others = (0..self.scenario.nodes).filter(|other| *other != number);
        // Records that were verified at a node are lost with it where it was given up since.
        let Some(holder) = installed.holder(partition).map(|it| it.uuid) else { return true };
        let mut asked = others.filter(|other| catalogue::uuid(*other) == holder);
        !self.keeps(Rule::ConfirmsBeforeRemoving) || asked.any(|it| confirms(&state.nodes[it]))
    }

    /// Whether a node would serve, under `next`, leftovers in a place that records were to be copied to.
    fn would_serve_unclear(&self, node: &Node, next: InstalledId) -> bool {
        let kept = |key| {
            let installed = self.catalogue.installed(node.guard);
            installed.kept().get(&self.partition(key)).copied().unwrap_or(Role::Stranger)
        };
        let mut unclear = self.unclear(node);
        unclear.any(|key| {
            let role = self.role(next, key);
            role.may_hold() && !role.can_follow(Some(kept(key)))
        })
    }

    /// The node clears the places that records will be copied to, and then shows the epoch.
    pub(crate) fn wipe(&self, state: &mut State, number: usize) -> Option<()> {
        let unclear: Vec<usize> = self.unclear(&state.nodes[number]).collect();
        let may_remove = |key: &usize| self.may_remove(state, number, *key);
        if !unclear.iter().all(may_remove) {
            return None;
        }
        let node = &mut state.nodes[number];
        if !node.is_up || !self.keeps(Rule::WipesAtInstall) || unclear.is_empty() {
            return None;
        }
        unclear.into_iter().for_each(|key| node.records[key] = Record::Absent);
        node.shows_epoch = true;
        Some(())
    }

    /// The node removes in the background what it need not have of a key.
    pub(crate) fn collect(&self, state: &mut State, number: usize, key: usize) -> Option<()> {
        let node = &state.nodes[number];
        let removes = match (self.role(node.guard, key), node.records[key]) {
            (_, Record::Absent) => false,
            (Role::Stranger, _) => self.may_remove(state, number, key),
            (Role::Owner, Record::Tombstone(_)) => true,
            (Role::Destination { .. }, Record::Tombstone(_)) => !self.keeps(Rule::PurgesAsOwner),
            (Role::Source, _) => !self.keeps(Rule::DropsAfterInstalling),
            _ => false,
        };
        if !node.is_up || !removes {
            return None;
        }
        state.nodes[number].records[key] = Record::Absent;
        Some(())
    }

    /// The node is killed: changes that were not durable are gone.
    pub(crate) fn crash(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &mut state.nodes[number];
        if !node.is_up || state.budget.crashes == 0 {
            return None;
        }
        state.budget.crashes -= 1;
        node.is_up = false;
        node.shows_epoch = false;
        if let Some((key, record)) = node.undurable.take() {
            node.records[usize::from(key)] = record;
        }
        node.guard = node.recorded;
        Some(())
    }

    /// The node is started. It shows the epoch once the places that records will be copied to are clear.
    pub(crate) fn restart(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &mut state.nodes[number];
        if node.is_up {
            return None;
        }
        node.is_up = true;
        let is_clear = self.unclear(&state.nodes[number]).next().is_none();
        state.nodes[number].shows_epoch = is_clear
            || !self.keeps(Rule::WipesAtInstall)
            || !self.keeps(Rule::WipesBeforeAcknowledging);
        Some(())
    }

    /// Written records become durable; only where it was acknowledged before.
    pub(crate) fn flush(&self, state: &mut State, number: usize) -> Option<()> {
        state.nodes[number].undurable.take().map(|_| ())
    }

    /// Consul loses everything, and is given back what this node has, which is behind.
    pub(crate) fn lose_consul(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &state.nodes[number];
        let has_newest = |it: &Node| self.catalogue.layout_of(it.recorded) == state.document;
        let is_copied =
            state.nodes.iter().any(has_newest) || !self.keeps(Rule::NodesHaveWhatConsulLoses);
        if state.budget.losses == 0 || !node.is_up || !is_copied {
            return None;
        }
        state.budget.losses -= 1;
        state.document = self.catalogue.layout_of(node.guard);
        Some(())
    }

    /// A node gives its newer layout back to a Consul that has an older one.
    pub(crate) fn restore(&self, state: &mut State, number: usize) -> Option<()> {
        let node = &state.nodes[number];
        let own = self.catalogue.layout_of(node.guard);
        let epoch = |layout| self.catalogue.layout(layout).layout.epoch;
        if !node.is_up || epoch(own) <= epoch(state.document) {
            return None;
        }
        state.document = own;
        Some(())
    }

    /// Whether a mover or a client may take a step from the layout in Consul.
    pub(crate) fn may_step(&self, state: &State) -> bool {
        let document = state.document;
        let epoch = |layout| self.catalogue.layout(layout).layout.epoch;
        let is_behind = state.nodes[..self.scenario.nodes].iter().any(|node| {
            let own = self.catalogue.layout_of(node.recorded);
            own != document && epoch(own) >= epoch(document)
        });
        !is_behind || !self.keeps(Rule::NodesRestoreBeforeSteps)
    }

    /// The data directory of a node that had nothing is put back to how it was at the beginning.
    pub(crate) fn put_back(&self, state: &mut State, number: usize) -> Option<()> {
        let first = self.first_node(number);
        let had_nothing = first.records.iter().all(|it| *it == Record::Absent);
        if state.budget.put_backs == 0 || !had_nothing {
            return None;
        }
        state.budget.put_backs -= 1;
        state.nodes[number] = first;
        (!self.scenario.puts_back_in_time || self.is_stored(state)).then_some(())
    }

    /// A process that can write to Consul publishes a layout that no step led to.
    pub(crate) fn forge(&self, state: &mut State, step: Step) -> Option<()> {
        if state.budget.forgeries == 0 {
            return None;
        }
        state.document = self.catalogue.step(state.document, step)?;
        state.budget.forgeries -= 1;
        Some(())
    }

    /// An operator publishes the placement again that there was at first.
    pub(crate) fn correct(&self, state: &mut State) -> Option<()> {
        if state.budget.corrections == 0 {
            return None;
        }
        state.document = self.catalogue.step(state.document, Step::Forge(0))?;
        state.budget.corrections -= 1;
        Some(())
    }

    /// Whether a layout's window is frozen.
    pub(crate) fn is_frozen(&self, layout: LayoutId) -> bool {
        let known = self.catalogue.layout(layout);
        let window = known.layout.rebalance.as_ref().and_then(|it| it.window);
        window.is_some_and(|it| it.phase == Phase::Preparing)
    }
}
