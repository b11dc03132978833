//! Asking nodes under one epoch.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kv_core::backoff::Backoff;
use kv_core::refusal::ErrorCode;
use kv_protocol::reply::{Content, NodeStatus};
use kv_protocol::request::Command;
use kvclient::ClientError;
use kvclient::admin::{self, Connections, View, has_installed};
use kvclient::limits::STATUS_TIMEOUT;
use uuid::Uuid;

use crate::error::RebalanceError;
use crate::limits::{MOVER_REPLY_TIMEOUT, RESTORE_WAIT};

/// How often a request is tried before the layout and the nodes' addresses are looked up anew.
const TRIES: u32 = 4;
/// The pauses between the tries.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));

/// Why a node did not answer as was hoped.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The layout has changed.
    Changed,
    /// The node may do it later.
    Later {
        /// The node's id.
        node: String,
        /// What stood in the way.
        problem: String,
    },
    /// The node answers, and has not installed the layout, so that nothing can be moved from it or to it.
    Behind {
        /// The node's id.
        node: String,
        /// What it has instead.
        problem: String,
    },
    /// The node will not do it.
    Never(ClientError),
}

/// A node's status, or why there is none.
pub(crate) type Statused = Result<NodeStatus, Trouble>;

/// Asks the nodes of one view.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) connections: &'a Connections,
    pub(crate) view: &'a View,
}

impl Asker<'_> {
    /// Asks a node something that may be asked any number of times.
    pub(crate) async fn ask(&self, node: u16, command: Command<'_>) -> Result<Content, Trouble> {
        let mut tried = 1;
        loop {
            match self.ask_once(node, command.clone()).await {
                Err(Trouble::Later { .. }) if tried < TRIES => {
                    tokio::time::sleep(PAUSES.after(tried - 1)).await;
                    tried += 1;
                }
                result => return result,
            }
        }
    }

    /// Checks that no node that answers has a later layout than the one that Consul gave: nodes that
    /// restored an older document must not have the last word on whether a window was opened.
    ///
    /// # Errors
    /// Which node has a later one. A node that is down says nothing: it must not keep a window frozen.
    pub(crate) async fn check_unopened(self) -> Result<(), Trouble> {
        let nodes = self.view.must_confirm();
        let asked =
            nodes.iter().map(|node| tokio::time::timeout(STATUS_TIMEOUT, self.status(*node)));
        for (node, answer) in nodes.iter().copied().zip(join_all(asked).await) {
            let Ok(Ok(status)) = answer else { continue };
            let installed = status.layout.map_or(0, |layout| layout.epoch);
            if installed > self.view.layout.epoch {
                let problem = format!(
                    "it has epoch {installed}, and Consul has an older layout, which the nodes are about \
                     to put right"
                );
                return Err(Trouble::Later { node: self.name(node), problem });
            }
        }
        Ok(())
    }

    /// Asks a node how it is. One that has an older layout learns by it that there is a newer one.
    pub(crate) async fn status(&self, node: u16) -> Result<NodeStatus, Trouble> {
        match self.ask(node, Command::Status).await? {
            Content::Status(status) if self.uuid(node).is_some_and(|uuid| uuid != status.uuid) => {
                // Such as one that has taken the port of a node that is gone.
                let problem = format!(
                    "another node answers at its address, {} with uuid {}",
                    status.node, status.uuid
                );
                Err(Trouble::Later { node: self.name(node), problem })
            }
            Content::Status(status) => Ok(*status),
            _ => Err(self.nonsense(node, "it is not the answer to STATUS")),
        }
    }

    /// Makes sure that a node has installed the layout.
    ///
    /// # Errors
    /// [`Trouble::Behind`], or why it does not say.
    pub(crate) async fn confirm(&self, node: u16) -> Result<NodeStatus, Trouble> {
        let status = self.status(node).await?;
        match has_installed(&self.view.layout, status.layout.as_ref()) {
            Ok(()) => Ok(status),
            Err(problem) => {
                // It may be why it does not follow.
                let kept = status.kept.filter(|kept| kept.not_handed_over > 0);
                let why = kept.map_or_else(String::new, |kept| format!("; {}", kept.reason));
                Err(Trouble::Behind {
                    node: self.name(node),
                    problem: format!("it {problem}{why}"),
                })
            }
        }
    }

    /// Asks a node how it is, which must not have a later layout than the one that Consul gave.
    ///
    /// # Errors
    /// It has; or why it does not say.
    pub(crate) async fn status_not_ahead(&self, node: u16) -> Result<Statused, RebalanceError> {
        let status = match self.status(node).await {
            Ok(status) => status,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let installed = status.layout.as_ref().filter(|it| it.cluster == self.view.layout.cluster);
        match installed.map_or(0, |layout| layout.epoch) {
            installed if installed > self.view.layout.epoch => {
                Err(RebalanceError::ConsulWentBack {
                    epoch: self.view.layout.epoch,
                    node: self.name(node),
                    installed,
                    waited: RESTORE_WAIT,
                })
            }
            _ => Ok(Ok(status)),
        }
    }

    /// The identity of the node's data directory.
    fn uuid(&self, node: u16) -> Option<Uuid> {
        self.view.assignments.nodes().get(usize::from(node)).map(|it| it.uuid)
    }

    /// The node's id.
    pub(crate) fn name(&self, node: u16) -> String {
        let nodes = self.view.assignments.nodes();
        nodes.get(usize::from(node)).map_or_else(|| node.to_string(), |it| it.id.to_string())
    }

    async fn ask_once(&self, node: u16, command: Command<'_>) -> Result<Content, Trouble> {
        let later = |problem: String| Trouble::Later { node: self.name(node), problem };
        let reply_by = Instant::now() + MOVER_REPLY_TIMEOUT;
        match admin::ask(self.connections, self.view, node, command, reply_by).await {
            Ok(Content::Refused(refusal)) => Err(match refusal.code {
                ErrorCode::StaleEpoch | ErrorCode::NotOwner => Trouble::Changed,
                code if code.is_retryable() => later(refusal.message),
                // The node has failed, and is started again where an operator or a supervisor sees to it.
                ErrorCode::Storage => later(refusal.message),
                _ => Trouble::Never(ClientError::Refused { node: self.name(node), refusal }),
            }),
            Ok(content) => Ok(content),
            Err(problem) => Err(later(problem)),
        }
    }

    /// The error of an answer of the wrong kind.
    pub(crate) fn nonsense(&self, node: u16, problem: &str) -> Trouble {
        let (node, problem) = (self.name(node), problem.to_owned());
        Trouble::Never(ClientError::InvalidReply { node, problem })
    }
}

/// Makes sure that a node has no records which a layout took from it without their being moved.
pub(crate) fn check_keeps_nothing(node: &str, status: &NodeStatus) -> Result<(), RebalanceError> {
    let Some(kept) = status.kept.as_ref().filter(|it| it.not_handed_over > 0) else {
        return Ok(());
    };
    Err(RebalanceError::Refused(format!(
        "nothing was changed, since node {node} keeps what no move would take along; {}",
        kept.reason
    )))
}

/// The error of a question that was asked before anything has begun.
pub(crate) fn in_plan(trouble: Trouble) -> RebalanceError {
    match trouble {
        Trouble::Changed => {
            RebalanceError::Refused("the layout changed meanwhile: try again".into())
        }
        Trouble::Later { node, problem } => RebalanceError::NodeDown {
            node,
            problem,
            advice: "start it, and try again; nothing was changed".into(),
        },
        Trouble::Behind { node, problem } => RebalanceError::NodeBehind {
            node,
            problem,
            advice: "see that it reaches Consul, and try again; nothing was changed".into(),
        },
        Trouble::Never(error) => error.into(),
    }
}
