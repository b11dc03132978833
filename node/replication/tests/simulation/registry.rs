//! The layout and its steps, as Consul has them: each is taken from what is there, or not at all.

use kv_core::copies::Row;
use kv_replication::{Placement, Step};

/// The layout that all nodes are pushed.
pub(crate) struct Registry {
    pub(crate) placement: Placement,
}

impl Registry {
    /// A layout whose partitions are spread over the nodes, all in sync.
    pub(crate) fn new(nodes: u16, replicas: u16, min_in_sync: usize, partitions: u16) -> Self {
        let row = |partition: u16| {
            let nodes: Vec<u16> = (0..replicas).map(|it| (partition + it) % nodes).collect();
            (Row::whole(&nodes).expect("it has nodes"), 1)
        };
        let rows = (0..partitions).map(row).collect();
        Self { placement: Placement { epoch: 1, min_in_sync, rows } }
    }

    /// Takes a step that `reporter` asks for. Returns whether it was one.
    pub(crate) fn step(&mut self, reporter: u16, step: &Step) -> bool {
        let before = self.placement.clone();
        let epoch = before.epoch + 1;
        let change = |(row, since): &mut (Row, u64), changed: Option<Row>| {
            if let Some(changed) = changed {
                (*row, *since) = (changed, epoch);
            }
        };
        let rows = &mut self.placement.rows;
        match step {
            Step::Evict(nodes) => {
                for it in rows.iter_mut() {
                    for node in nodes {
                        change(it, it.0.evict(*node, reporter));
                    }
                }
            }
            Step::Yield(heard) => {
                let can_yield = |row: &Row| heard.iter().any(|node| row.is_in_sync(*node));
                for it in rows.iter_mut().filter(|(row, _)| can_yield(row)) {
                    change(it, it.0.evict(reporter, reporter));
                }
            }
            Step::Fence => {}
            Step::Admit { epoch, .. } if *epoch != before.epoch => return false,
            Step::Admit { promised, .. } => {
                for (partition, positions) in promised {
                    let it = &mut rows[partition.0 as usize];
                    change(it, it.0.admit(*positions));
                }
            }
        }
        if *step != Step::Fence && *rows == before.rows {
            return false;
        }
        self.placement.epoch = epoch;
        true
    }
}
