//! A cluster of this project, with its own Consul: the embedded agent.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use kv_protocol::consul::ConsulConfig;
use kvclient::{Client, ClientConfig, NodeReport};
use serde_json::Value;
use tempfile::TempDir;

use crate::programs::Programs;
use crate::server::{Server, eventually, run};

const CLUSTER: &str = "bench";
/// The length of a value, in bytes.
pub(crate) const VALUE_BYTES: usize = 100;

/// Nodes with a layout. All of it ends when this is dropped.
pub(crate) struct Fleet<'a> {
    programs: &'a Programs,
    nodes: Vec<(String, Server)>,
    consul: String,
    // Kept for its process, which serves Consul's API.
    _agent: Server,
    // Dropped last, after those who write to it.
    directory: TempDir,
}

/// A command of `kvclient` that has ended.
pub(crate) struct Done {
    /// What it printed, as JSON.
    pub(crate) json: Value,
    /// How long it took, from its start to its end.
    pub(crate) took: Duration,
}

impl Done {
    /// A number of those that it printed.
    pub(crate) fn number(&self, name: &str) -> anyhow::Result<f64> {
        self.json[name].as_f64().with_context(|| format!("no {name:?} in {}", self.json))
    }
}

impl<'a> Fleet<'a> {
    /// Starts `node-0` and so on, each of this weight, and creates their layout.
    pub(crate) async fn start(
        programs: &'a Programs,
        nodes: usize,
        weight: u32,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory can be made")?;
        let mut command = Command::new(&programs.kvnode);
        command.args(["dev", "--nodes", "1", "--consul-port", "0", "--data-dir"]);
        command.arg(directory.path().join("dev"));
        let mut agent = Server::start_watched("consul", &command, directory.path())?;
        let ready = agent.wait_for_line("ready: ").await?;
        let url = ready.split_once("consul http://").context("the line names Consul")?.1;
        let consul = url.trim().to_owned();
        let mut fleet = Self { programs, nodes: Vec::new(), consul, _agent: agent, directory };
        for number in 0..nodes {
            fleet.spawn(number, weight)?;
        }
        for (_, node) in &mut fleet.nodes {
            node.wait_for_line("ready: ").await?;
        }
        fleet.kvclient(&["init"], None).await?;
        Ok(fleet)
    }

    fn spawn(&mut self, number: usize, weight: u32) -> anyhow::Result<()> {
        let id = format!("node-{number}");
        let mut command = Command::new(&self.programs.kvnode);
        command
            .args(["--consul", &self.consul, "--cluster", CLUSTER, "--id", &id, "--port", "0"])
            .args(["--weight", &weight.to_string(), "--stop-with-stdin", "--data-dir"])
            .arg(self.directory.path().join("nodes"))
            .env("RUST_LOG", "warn,sled=error");
        let node = Server::start(&id, command, self.directory.path())?;
        self.nodes.push((id, node));
        Ok(())
    }

    /// Starts one more node and waits until it is ready to be added.
    pub(crate) async fn start_node(&mut self, number: usize, weight: u32) -> anyhow::Result<()> {
        self.spawn(number, weight)?;
        let (_, node) = self.nodes.last_mut().context("it was just added")?;
        node.wait_for_line("ready: ").await.map(drop)
    }

    /// Adds the nodes that run and are no members yet.
    pub(crate) async fn add(&self) -> anyhow::Result<Done> {
        let done = self.command(&["add-node"]).await?;
        self.wait_until_cleared().await?;
        Ok(done)
    }

    /// Removes a node, which then ends.
    pub(crate) async fn remove(&mut self, number: usize) -> anyhow::Result<Done> {
        let id = format!("node-{number}");
        let done = self.command(&["remove-node", &id]).await?;
        let place =
            self.nodes.iter().position(|(it, _)| *it == id).context("there is no such node")?;
        self.nodes.remove(place).1.wait_for_end().await?;
        Ok(done)
    }

    /// Adopts another strategy.
    pub(crate) async fn migrate(&self, strategy: &str) -> anyhow::Result<Done> {
        self.command(&["migrate", "--to", strategy]).await
    }

    /// What a change would move.
    pub(crate) async fn plan(&self, change: &[&str]) -> anyhow::Result<Done> {
        self.command(&[&["plan"], change].concat()).await
    }

    /// Waits until no node has anything left to remove, so that it does not disturb what comes next.
    pub(crate) async fn wait_until_cleared(&self) -> anyhow::Result<()> {
        eventually("old copies to be gone", async || {
            let nodes = kvclient::inspect(&self.config()?).await?.nodes;
            let is_clear = |node: &NodeReport| {
                node.answer.as_ref().is_ok_and(|status| status.partitions_to_clear == 0)
            };
            Ok(nodes.iter().all(is_clear).then_some(()))
        })
        .await
    }

    /// Stores keys, each with a value of [`VALUE_BYTES`].
    pub(crate) async fn import(&self, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let path = self.directory.path().join("import.ndjson");
        write_lines(&path, keys).context("the import cannot be written")?;
        self.kvclient(&["import"], Some(&path)).await?;
        std::fs::remove_file(&path)?;
        Ok(())
    }

    /// A client of this cluster, as programs use it.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(self.config()?).await?)
    }

    fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new(ConsulConfig::resolve(Some(&self.consul))?);
        config.cluster = CLUSTER.parse()?;
        Ok(config)
    }

    async fn command(&self, args: &[&str]) -> anyhow::Result<Done> {
        let args = [args, &["--output", "json"]].concat();
        let (out, took) = self.kvclient(&args, None).await?;
        Ok(Done { json: serde_json::from_str(&out)?, took })
    }

    async fn kvclient(
        &self,
        args: &[&str],
        input: Option<&Path>,
    ) -> anyhow::Result<(String, Duration)> {
        let mut command = Command::new(&self.programs.kvclient);
        command.args(["--consul", &self.consul, "--cluster", CLUSTER]).args(args);
        run(command, self.directory.path(), input).await
    }
}

/// The names of `count` keys.
pub(crate) fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("key:{number:012}"))
}

fn write_lines(path: &Path, keys: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let value = "v".repeat(VALUE_BYTES);
    for key in keys {
        writeln!(file, r#"{{"key":"{key}","value":"{value}"}}"#)?;
    }
    file.flush()
}
