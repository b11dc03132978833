//! The process of one node: started, waited for until it serves, and until it ends.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Nodes;
use super::error::{NodesError, READY_WITHIN};
use crate::dev::consul::CREDENTIALS;
use crate::supervisor::Order;

/// What the line of a node that serves begins with.
const READY: &str = "ready: ";

pub(super) struct NodeProcess {
    pub(super) order: Order,
    pub(super) child: Child,
    /// The node stops when this is closed, so that none outlives this process.
    pub(super) stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Whether it has said that it serves.
    pub(super) is_ready: bool,
}

impl Nodes {
    pub(super) fn spawn(&self, order: Order) -> Result<NodeProcess, NodesError> {
        let start = |source| NodesError::Start { id: order.id.to_string(), source };
        let mut command = Command::new(&self.program);
        command
            .args(order.options())
            .args(["--consul", &self.consul])
            .args(["--stop-with-stdin", "--no-launch", "--data-dir"])
            .arg(&self.directory)
            .args(["--memory", &self.memory.bytes().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if self.older_copies.contains(&order.id) {
            command.arg("--serve-older-copy");
        }
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn,sled=error");
        }
        if !self.with_credentials {
            for variable in CREDENTIALS {
                command.env_remove(variable);
            }
        }
        let mut child = command.spawn().map_err(start)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| start(io::Error::other("it has no standard output")))?;
        let stdout = BufReader::new(stdout).lines();
        Ok(NodeProcess { order, child, stdin, stdout, is_ready: false })
    }

    /// Waits until one of the nodes ends. Returns its place among those that run, and how it ended.
    pub(super) async fn first_to_end(&mut self) -> (usize, ExitStatus) {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let ends = self
            .running
            .iter_mut()
            .enumerate()
            .map(|(index, node)| Box::pin(async move { (index, node.ended().await) }));
        futures::future::select_all(ends).await.0
    }
}

impl NodeProcess {
    /// Waits until it serves.
    ///
    /// # Errors
    /// [`NodesError`] where it ends instead, or takes too long.
    pub(super) async fn wait_until_ready(&mut self) -> Result<(), NodesError> {
        let ready = tokio::time::timeout(READY_WITHIN, self.stdout.next_line()).await;
        match ready {
            Ok(Ok(Some(line))) if line.starts_with(READY) => {
                self.is_ready = true;
                Ok(())
            }
            Ok(_) => {
                let status = self.child.wait().await.map_err(|source| NodesError::Start {
                    id: self.order.id.to_string(),
                    source,
                })?;
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                Err(NodesError::Ended { id: self.order.id.to_string(), status, code })
            }
            Err(_) => Err(NodesError::Late { id: self.order.id.to_string() }),
        }
    }

    /// Waits for its end. What it prints is passed over, but must be read.
    async fn ended(&mut self) -> ExitStatus {
        while let Ok(Some(line)) = self.stdout.next_line().await {
            self.is_ready |= line.starts_with(READY);
        }
        // A child that cannot be waited for is as good as failed.
        self.child.wait().await.unwrap_or_else(|_| failed())
    }
}

fn failed() -> ExitStatus {
    std::os::unix::process::ExitStatusExt::from_raw(1 << 8)
}
