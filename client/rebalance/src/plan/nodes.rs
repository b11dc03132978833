//! Whether the members are fit for a rebalance, before one begins.

use std::collections::BTreeMap;

use kv_consul::CheckStatus;
use kv_core::layout::Layout;
use kv_core::window::Size;
use kv_protocol::reply::NodeStatus;
use kv_registry::members::Registered as _;
use kvclient::admin::has_installed;
use uuid::Uuid;

use crate::ask::{Asker, Trouble, check_keeps_nothing, in_plan};
use crate::error::RebalanceError;
use crate::rebalancer::Rebalancer;
use crate::seen::Seen;

impl Rebalancer {
    /// Makes sure that all members answer, except those that are given up, which must not. Gives what
    /// they store.
    pub(super) async fn check_nodes(
        &self,
        seen: &Seen,
        lost: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Size>, RebalanceError> {
        let asker = Asker { connections: &self.connections, view: &seen.view };
        let instances = self.discovery.instances().await?;
        let is_unheard = |uuid| {
            let mut ours = instances.iter().filter(|it| it.uuid() == Some(uuid));
            ours.any(|it| it.status == CheckStatus::Critical)
        };
        let mut stored = BTreeMap::new();
        let mut answers = Vec::new();
        for (index, member) in (0..).zip(seen.view.assignments.nodes()) {
            // Before anybody is missed: where Consul has gone back, it may name nodes that are gone.
            answers.push((member, asker.status_not_ahead(index).await?));
        }
        for (member, answer) in answers {
            let node = member.id.to_string();
            let is_registered = instances.iter().any(|it| it.uuid() == Some(member.uuid));
            if answer.is_err() && !is_registered {
                self.discovery.check_sees_all().await?;
            }
            match (answer, lost.contains(&member.uuid)) {
                (Ok(status), false) => {
                    check_follows(&seen.view.layout, &node, &status, is_unheard(member.uuid))?;
                    let size = Size { keys: status.keys, bytes: status.bytes };
                    stored.insert(member.uuid, size);
                }
                (Ok(_), true) => {
                    return Err(RebalanceError::Refused(format!(
                        "node {node} is alive: remove it with `kvclient remove-node {node}`, which loses \
                         nothing"
                    )));
                }
                (Err(_), true) => {}
                (Err(Trouble::Later { problem, .. }), false) => {
                    let advice = format!(
                        "start it, and try again. If it will never come back, give up what only it \
                         stores: `kvclient remove-node --dead {node} --accept-data-loss`"
                    );
                    return Err(RebalanceError::NodeDown { node, problem, advice });
                }
                (Err(trouble), false) => return Err(in_plan(trouble)),
            }
        }
        Ok(stored)
    }
}

/// Makes sure that a node follows the layout, so that data can be moved from it and to it, and has
/// nothing that no move would find. One that Consul has not heard of for a while may have the present
/// layout, and would not learn of the next one.
fn check_follows(
    layout: &Layout,
    node: &str,
    status: &NodeStatus,
    is_unheard: bool,
) -> Result<(), RebalanceError> {
    let problem = match has_installed(layout, status.layout.as_ref()) {
        Err(problem) => {
            // It may be why it does not follow.
            let kept = status.kept.as_ref().filter(|kept| kept.not_handed_over > 0);
            let why = kept.map_or_else(String::new, |kept| format!("; {}", kept.reason));
            Some(format!("it {problem}{why}"))
        }
        Ok(()) if is_unheard => Some(
            "its check in Consul is critical: it does not reach its Consul agent, or that is down"
                .into(),
        ),
        Ok(()) => None,
    };
    if let Some(problem) = problem {
        return Err(RebalanceError::NodeBehind {
            node: node.to_owned(),
            problem,
            advice: "nothing was changed, and everything is served. See that it reaches Consul, its log says \
                     what is in the way, or start it anew; then try again"
                .into(),
        });
    }
    check_keeps_nothing(node, status)
}
