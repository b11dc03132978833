//! Faults come and go.

use kv_replication::Step;

use super::{Cluster, Event};
use crate::faults::Fault;

impl Cluster {
    pub(super) fn fail(&mut self, fault: Fault) {
        let lasts = match fault {
            Fault::Kill(node, lasts) | Fault::PowerLoss(node, lasts) => {
                if self.node(node).is_dead {
                    return;
                }
                let is_power_loss = matches!(fault, Fault::PowerLoss(..)) && !self.has_deaths;
                self.node(node).kill(is_power_loss);
                lasts
            }
            Fault::Death(node) => {
                if !self.has_deaths || !self.can_spare(node) {
                    return;
                }
                self.node(node).kill(true);
                self.node(node).is_dead = true;
                0
            }
            Fault::Evict(node, reporter) => {
                if self.node(reporter).is_dead {
                    return;
                }
                self.step(reporter, &Step::Evict([node].into()));
                0
            }
            Fault::Stop(node, lasts) => {
                if self.has_deaths {
                    return;
                }
                if let Some(process) = &mut self.node(node).process {
                    process.replicator.leave();
                }
                lasts
            }
            Fault::KillAll(lasts) => {
                self.nodes.iter_mut().for_each(|it| it.kill(false));
                lasts
            }
            Fault::Freeze(node, lasts) => {
                let until = self.now + lasts;
                let it = self.node(node);
                it.stands_until = until.max(it.stands_until);
                let until = it.stands_until;
                self.at(until, Event::GoOn(node));
                lasts
            }
            Fault::Cut(one, other, both, lasts) => {
                self.network.cut(one, other);
                if both {
                    self.network.cut(other, one);
                }
                lasts
            }
            Fault::NoRegistry(node, lasts) => {
                self.node(node).reaches_registry = false;
                lasts
            }
            Fault::Slow(delay, lasts) => {
                self.network.delay_max = delay;
                lasts
            }
            Fault::Lossy(lasts) => {
                self.network.lost_per_mille = 30;
                lasts
            }
        };
        self.faults += 1;
        self.note(format!("{fault:?}"));
        self.at(self.now + lasts, Event::Over(fault));
    }

    pub(super) fn mend(&mut self, fault: Fault) {
        self.note(format!("over: {fault:?}"));
        match fault {
            Fault::Kill(node, _) | Fault::PowerLoss(node, _) => self.start(node),
            Fault::Stop(node, _) => {
                self.node(node).kill(false);
                self.start(node);
            }
            Fault::KillAll(_) => (0..self.shape.nodes).for_each(|node| self.start(node)),
            Fault::Death(_) | Fault::Freeze(..) | Fault::Evict(..) => {}
            Fault::NoRegistry(node, _) => {
                self.node(node).reaches_registry = true;
                self.after(1, 100, Event::Look(node));
            }
            Fault::Cut(..) | Fault::Slow(..) | Fault::Lossy(_) => self.network.heal(),
        }
    }

    fn start(&mut self, node: u16) {
        let now = self.now;
        let it = self.node(node);
        if it.process.is_none() && !it.is_dead {
            it.start(now);
            self.after(1, 200, Event::Look(node));
        }
    }

    /// Whether each partition has another copy that is in sync and is not lost, and most nodes are left: the others
    /// do not go on by themselves.
    fn can_spare(&self, node: u16) -> bool {
        let dead = self.nodes.iter().filter(|it| it.is_dead).count();
        let rows = self.registry.placement.rows.iter();
        let mut rows = rows.filter(|(row, _)| row.position(node).is_some());
        let has_other = rows.all(|(row, _)| {
            let mut in_sync = row.in_sync().iter().map(|it| row.node(it));
            in_sync.any(|it| it != node && !self.nodes[usize::from(it)].is_dead)
        });
        has_other
            && !self.nodes[usize::from(node)].is_dead
            && dead + 1 < usize::from(self.shape.replicas)
            && (dead + 1) * 2 < self.nodes.len()
    }

    pub(super) fn heal(&mut self) {
        self.note("all is mended".into());
        self.network.heal();
        for node in 0..self.shape.nodes {
            self.node(node).reaches_registry = true;
            self.start(node);
            self.after(1, 100, Event::Look(node));
        }
    }
}
