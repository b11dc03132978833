//! The nodes of `kvnode dev`: starting, watching and stopping their processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kv_protocol::consul::Backoff;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tracing::{error, info, warn};

use crate::identity::IDENTITY_FILE;

/// A node that is not ready within this time is given up.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A node that has not stopped within this time is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Why the nodes do not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// A process cannot be started.
    #[error("{id} cannot be started: {source}")]
    Start {
        /// The node.
        id: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A node ended instead of becoming ready.
    #[error("{id} ended before it was ready ({status}); its last words are above")]
    Ended {
        /// The node.
        id: String,
        /// How it ended.
        status: ExitStatus,
        /// Its exit code, where it has one.
        code: Option<u8>,
    },
    /// A node did not become ready.
    #[error("{id} was not ready within {READY_WITHIN:?}")]
    Late {
        /// The node.
        id: String,
    },
    /// The data directory cannot be read.
    #[error("{path} cannot be used: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The nodes of one cluster on this machine.
pub(super) struct Nodes {
    /// This program. It is looked up once, since a program that is built anew meanwhile is another.
    program: PathBuf,
    directory: PathBuf,
    consul: String,
    running: Vec<NodeProcess>,
}

struct NodeProcess {
    id: String,
    child: Child,
    /// The node stops when this is closed, so that none outlives this process.
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Nodes {
    /// No nodes yet; their data will be in `directory`.
    ///
    /// # Errors
    /// Where the path of this program cannot be found out.
    pub(super) fn new(directory: PathBuf, consul: String) -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, directory, consul, running: Vec::new() })
    }

    /// How many nodes run.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// Starts `count` nodes, or more where more have data here, and waits until all are ready.
    ///
    /// # Errors
    /// [`NodesError`] of the first node that does not become ready.
    pub(super) async fn start(&mut self, count: u32) -> Result<(), NodesError> {
        let kept = kept_nodes(&self.directory)?;
        if kept > count {
            eprintln!(
                "{kept} nodes have data in {}: starting all of them",
                self.directory.display()
            );
        }
        // One after the other, so that they take their ports in the order of their ids.
        for number in 0..count.max(kept) {
            self.start_one(format!("node-{number}")).await?;
        }
        Ok(())
    }

    /// Starts nodes anew that end by themselves. A node that ends without an error has been told
    /// to, and stays away. Returns when no node is left.
    pub(super) async fn supervise(&mut self) {
        let mut backoff = Backoff::default();
        while !self.running.is_empty() {
            let (index, status) = self.first_to_end().await;
            let ended = self.running.remove(index);
            if status.success() {
                info!("{} has stopped", ended.id);
                continue;
            }
            let mut wait = backoff.failed();
            warn!("{} ended ({status}): starting it again in {wait:?}", ended.id);
            loop {
                tokio::time::sleep(wait).await;
                match self.start_one(ended.id.clone()).await {
                    Ok(()) => break backoff.succeeded(),
                    // One that started and ended is watched, and its end leads here again.
                    Err(error) if self.running.iter().any(|node| node.id == ended.id) => {
                        break error!("{error}");
                    }
                    Err(error) => error!("{error}"),
                }
                wait = backoff.failed();
            }
        }
        warn!("no node is left");
    }

    /// Stops all nodes and waits for their ends.
    pub(super) async fn stop(&mut self) {
        for node in &mut self.running {
            node.stdin = None;
        }
        for mut node in self.running.drain(..) {
            match tokio::time::timeout(STOP_WITHIN, node.child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(status) => warn!("{} did not stop cleanly: {status:?}", node.id),
                Err(_) => {
                    warn!("{} does not stop: killing it", node.id);
                    let _ = node.child.kill().await;
                }
            }
        }
    }

    async fn start_one(&mut self, id: String) -> Result<(), NodesError> {
        let mut node = self.spawn(id)?;
        let result = node.wait_until_ready().await;
        // One that is not ready is watched too: its end leads here again.
        self.running.push(node);
        result
    }

    async fn first_to_end(&mut self) -> (usize, ExitStatus) {
        let ends = self.running.iter_mut().enumerate().map(|(index, node)| {
            Box::pin(async move {
                // What a node prints after its ready line is passed over, but must be read.
                while let Ok(Some(_)) = node.stdout.next_line().await {}
                (index, node.child.wait().await)
            })
        });
        let ((index, status), ..) = futures::future::select_all(ends).await;
        // A child that cannot be waited for is as good as failed.
        (index, status.unwrap_or_else(|_| failed()))
    }

    fn spawn(&self, id: String) -> Result<NodeProcess, NodesError> {
        let start = |source| NodesError::Start { id: id.clone(), source };
        let mut command = Command::new(&self.program);
        command
            .args(["--id", &id, "--consul", &self.consul, "--stop-with-stdin", "--data-dir"])
            .arg(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn,sled=error");
        }
        let mut child = command.spawn().map_err(start)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| start(io::Error::other("it has no standard output")))?;
        Ok(NodeProcess { id, child, stdin, stdout: BufReader::new(stdout).lines() })
    }
}

impl NodeProcess {
    async fn wait_until_ready(&mut self) -> Result<(), NodesError> {
        let ready = tokio::time::timeout(READY_WITHIN, self.stdout.next_line()).await;
        match ready {
            Ok(Ok(Some(line))) if line.starts_with("ready: ") => Ok(()),
            Ok(_) => {
                let status = self
                    .child
                    .wait()
                    .await
                    .map_err(|source| NodesError::Start { id: self.id.clone(), source })?;
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                Err(NodesError::Ended { id: self.id.clone(), status, code })
            }
            Err(_) => Err(NodesError::Late { id: self.id.clone() }),
        }
    }
}

fn failed() -> ExitStatus {
    std::os::unix::process::ExitStatusExt::from_raw(1 << 8)
}

/// How many nodes have data in `directory`: one more than the highest number of a `node-N`.
fn kept_nodes(directory: &Path) -> Result<u32, NodesError> {
    let unusable = |source| NodesError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(unusable)?;
    let mut kept = 0;
    for entry in fs::read_dir(directory).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        if !entry.path().join(IDENTITY_FILE).is_file() {
            continue;
        }
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node-"));
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            kept = kept.max(number.saturating_add(1));
        }
    }
    Ok(kept)
}
