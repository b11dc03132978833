//! Rebalancing: nodes come and go, or another strategy is adopted, and the data moves to where it
//! then belongs, while everybody reads and writes on.
//!
//! A rebalance is a sequence of layouts (see [`kv_core::layout`]). A process that runs
//! [`Rebalancer::run`] is a mover: it takes the rebalance from wherever it is to its goal. It may die
//! anywhere; the cluster serves on, and any other mover goes on from there.
//!
//! A change takes this way; what commands ask for is [`Rebalancer`]'s, in `rebalancer` and beside what it
//! needs:
//!
//! | step | file | what |
//! |---|---|---|
//! | wish | `change`, `spares`, `launch` | what is wanted; the nodes that are to join, found or started |
//! | plan | `plan`, `sizes` | what would move, and whether nodes and Consul let it; nothing is changed |
//! | begin, resume, pause, undo | `task` | the layout set to rebalancing, to its goal or back |
//! | lock | `lock`, `progress` | one mover at a time, and how far it is |
//! | freeze, copy, hand over | `mover/turn` | one step of the layout after another; which, [`kv_core::mover`] says |
//! | copy | `transfer`, `throttle` | copying, comparing, and not too fast |
//! | wait | `mover/patience` | nodes and a Consul that are away, and for how long |
//! | end | `aim` | what a rebalance is for, and whether that has come about |
//! | clean | `leaving`, `desired_states` | nodes that are members no more; [`kv_registry`] removes tables and strategies of no more use |
//! | give up | `give_up` | an end where nodes are gone for good |
//!
//! Beside it: `restore`, a past layout in the place of another; `upgrade`, a layout of the format before; `fsck`, whether every key is where it
//! belongs, with `recount`, whether nodes know how many they have; `live`, a cluster at rest, for programs that look for a better strategy for it. `seen` and `ask`
//! carry all of it: the layout as Consul has it, and questions to the nodes of it.

mod aim;
mod ask;
mod change;
mod desired_states;
mod error;
mod fsck;
mod give_up;
mod launch;
mod leaving;
pub mod limits;
mod live;
mod lock;
mod mover;
mod plan;
mod progress;
mod rebalancer;
mod recount;
mod restore;
mod seen;
mod sizes;
mod spares;
mod task;
mod throttle;
mod transfer;
mod upgrade;

pub use aim::End;
pub use change::{Addition, Change};
pub use desired_states::Launched;
pub use error::RebalanceError;
pub use fsck::{Finding, FsckReport};
pub use live::LiveCluster;
pub use plan::{Load, NodePlan, Plan, Prepared};
pub use progress::Progress;
pub use rebalancer::Rebalancer;
pub use recount::Miscounted;
pub use spares::Wanted;
pub use task::Task;
