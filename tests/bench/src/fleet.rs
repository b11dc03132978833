//! A cluster of this project, with its own Consul: the embedded agent.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kv_consul::ConsulConfig;
use kvclient::{Client, ClientConfig, NodeReport};
use serde_json::Value;
use tempfile::TempDir;

use crate::figures::median;
use crate::load::{KEY_PREFIX, Load, Measured};
use crate::process;
use crate::programs::Programs;
use crate::server::{Server, eventually, run};

const CLUSTER: &str = "bench";
/// The length of a value, in bytes.
pub const VALUE_BYTES: usize = 100;
/// The file of a node's directory that holds a part of the disk in reserve.
const RESERVE: &str = "reserve";
/// How long a node that is ready may take to answer, in milliseconds.
const ANSWER_WITHIN_MS: i32 = 10_000;

/// Nodes with a layout. All of it ends when this is dropped.
pub struct Fleet<'a> {
    programs: &'a Programs,
    /// How every node is started, besides what makes it a member.
    options: Vec<String>,
    /// The control group in which nodes are started, where it is not that of the benchmark.
    group: Option<PathBuf>,
    nodes: Vec<(String, Server)>,
    consul: String,
    // Kept for its process, which serves Consul's API.
    _agent: Server,
    // Dropped last, after the processes that write to it.
    directory: TempDir,
}

/// A command of `kvclient` that has ended.
pub struct Done {
    /// What it printed, as JSON.
    pub json: Value,
    /// How long it took, from its start to its end.
    pub took: Duration,
}

impl Done {
    /// A number of those that it printed.
    pub fn number(&self, name: &str) -> anyhow::Result<f64> {
        self.json[name].as_f64().with_context(|| format!("no {name:?} in {}", self.json))
    }
}

impl<'a> Fleet<'a> {
    /// Starts `node-0` and so on, each of this weight, and creates their layout.
    pub async fn start(programs: &'a Programs, nodes: usize, weight: u32) -> anyhow::Result<Self> {
        Self::start_with(programs, nodes, weight, &[]).await
    }

    /// The same, with more options of `kvnode`.
    pub async fn start_with(
        programs: &'a Programs,
        nodes: usize,
        weight: u32,
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory can be made")?;
        let mut command = Command::new(&programs.kvnode);
        command.args(["dev", "--nodes", "1", "--consul-port", "0", "--data-dir"]);
        command.arg(directory.path().join("dev"));
        let mut agent = Server::start_watched("consul", &command, directory.path())?;
        let ready = agent.wait_for_line("ready: ").await?;
        let url = ready.split_once("consul http://").context("the line names Consul")?.1;
        let consul = url.trim().to_owned();
        let options = options.iter().map(|&it| it.to_owned()).collect();
        let mut fleet = Self {
            programs,
            options,
            group: None,
            nodes: Vec::new(),
            consul,
            _agent: agent,
            directory,
        };
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
        let node = self.launch(&id, weight)?;
        self.nodes.push((id, node));
        Ok(())
    }

    fn launch(&self, id: &str, weight: u32) -> anyhow::Result<Server> {
        let mut command = match &self.group {
            Some(group) => {
                // The shell is in the group before it becomes the node.
                let mut shell = Command::new("sh");
                shell.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#]);
                shell.arg(group).arg(&self.programs.kvnode);
                shell
            }
            None => Command::new(&self.programs.kvnode),
        };
        command
            .args(["--consul", &self.consul, "--cluster", CLUSTER, "--id", id, "--port", "0"])
            .args(["--weight", &weight.to_string(), "--stop-with-stdin"])
            .args(&self.options)
            .arg("--data-dir")
            .arg(self.directory.path().join("nodes"))
            .env("RUST_LOG", "warn,sled=error");
        Server::start(id, command, self.directory.path())
    }

    /// The process of a node.
    pub fn pid(&self, number: usize) -> u32 {
        self.nodes[number].1.pid()
    }

    /// The directory of a node's data.
    pub fn data(&self, number: usize) -> PathBuf {
        self.directory.path().join("nodes").join(&self.nodes[number].0)
    }

    /// The bytes of the disk that a node's data take. What it holds in reserve is not among them.
    pub fn disk_bytes(&self, number: usize) -> anyhow::Result<f64> {
        let data = self.data(number);
        let reserve_bytes = process::disk_bytes(&data.join(RESERVE))?;
        Ok(process::disk_bytes(&data)?.saturating_sub(reserve_bytes) as f64)
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.nodes[number].1.kill()
    }

    /// Sends a node SIGTERM and gives the time until it has ended.
    pub async fn terminate(&mut self, number: usize) -> anyhow::Result<Duration> {
        self.nodes[number].1.terminate().await
    }

    /// Has nodes that are started from now on run with other options, and in a control group where one is given.
    pub fn start_nodes_with(&mut self, options: &[&str], group: Option<&Path>) {
        self.options = options.iter().map(|&it| it.to_owned()).collect();
        self.group = group.map(Path::to_owned);
    }

    /// Stops a node as an operator does, who wants it back later.
    pub async fn stop(&mut self, number: usize) -> anyhow::Result<()> {
        self.nodes[number].1.stop().await
    }

    /// Starts a node that has ended on the data that it has left, and gives the time until it answers
    /// for `key`.
    pub async fn restart(&mut self, number: usize, key: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let id = self.nodes[number].0.clone();
        let mut node = self.launch(&id, 1)?;
        let ready = node.wait_for_line("ready: ").await?;
        self.nodes[number].1 = node;
        let address = ready.split(' ').nth(3).context("the line names the address")?;
        ask(address.trim_end_matches(','), key)?;
        Ok(began.elapsed())
    }

    /// Stores a value of [`VALUE_BYTES`] under one key.
    pub async fn put(&self, key: &str) -> anyhow::Result<()> {
        self.kvclient(&["put", key, &"v".repeat(VALUE_BYTES)], None).await.map(drop)
    }

    /// Runs `kvclient bench`.
    pub async fn bench(&self, load: &Load<'_>) -> anyhow::Result<Measured> {
        let arguments = load.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Measured::read(&self.command(&arguments).await?.json)
    }

    /// The operations per second of several runs, as their median.
    pub async fn rate(&self, load: &Load<'_>, rounds: usize) -> anyhow::Result<f64> {
        let mut rates = Vec::new();
        for _ in 0..rounds {
            rates.push(self.bench(load).await?.throughput);
        }
        Ok(median(&rates))
    }

    /// The keys that are stored, and the bytes of them and of their values.
    pub async fn stored(&self) -> anyhow::Result<(u64, u64)> {
        let mut sum = (0, 0);
        for node in kvclient::inspect(&self.config()?).await?.nodes {
            let status = node.answer.map_err(anyhow::Error::msg)?;
            sum = (sum.0 + status.keys, sum.1 + status.bytes);
        }
        Ok(sum)
    }

    /// Starts one more node and waits until it is ready to be added.
    pub async fn start_node(&mut self, number: usize, weight: u32) -> anyhow::Result<()> {
        self.spawn(number, weight)?;
        let (_, node) = self.nodes.last_mut().context("it was just added")?;
        node.wait_for_line("ready: ").await.map(drop)
    }

    /// Adds the nodes that run and are no members yet.
    pub async fn add(&self) -> anyhow::Result<Done> {
        let done = self.command(&["add-node"]).await?;
        self.wait_until_cleared().await?;
        Ok(done)
    }

    /// Removes a node, which then ends.
    pub async fn remove(&mut self, number: usize) -> anyhow::Result<Done> {
        let id = format!("node-{number}");
        let done = self.command(&["remove-node", &id]).await?;
        let place =
            self.nodes.iter().position(|(it, _)| *it == id).context("there is no such node")?;
        self.nodes.remove(place).1.wait_for_end().await?;
        Ok(done)
    }

    /// Adopts another strategy.
    pub async fn migrate(&self, strategy: &str) -> anyhow::Result<Done> {
        self.command(&["migrate", "--to", strategy]).await
    }

    /// What a change would move.
    pub async fn plan(&self, change: &[&str]) -> anyhow::Result<Done> {
        self.command(&[&["plan"], change].concat()).await
    }

    /// Waits until no node has anything left to remove, so that it does not disturb what comes next.
    pub async fn wait_until_cleared(&self) -> anyhow::Result<()> {
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
    pub async fn import(&self, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let path = self.directory.path().join("import.ndjson");
        write_lines(&path, keys).context("the import cannot be written")?;
        self.kvclient(&["import"], Some(&path)).await?;
        std::fs::remove_file(&path)?;
        Ok(())
    }

    /// A client of this cluster, as programs use it.
    pub async fn client(&self) -> anyhow::Result<Client> {
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
pub fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(key)
}

/// The name of a key, as the load generators make it.
pub fn key(number: usize) -> String {
    format!("{KEY_PREFIX}{number:010}")
}

/// Asks the node at `address` for `key` and waits for the value.
fn ask(address: &str, key: &str) -> anyhow::Result<()> {
    let dealer = zmq::Context::new().socket(zmq::DEALER)?;
    dealer.set_linger(0)?;
    dealer.set_rcvtimeo(ANSWER_WITHIN_MS)?;
    dealer.connect(&format!("tcp://{address}"))?;
    dealer.send(&*format!(r#"{{"op":"GET_ONE","key":"{key}"}}"#), 0)?;
    let reply = dealer.recv_bytes(0).with_context(|| format!("{address} does not answer"))?;
    let reply: Value = serde_json::from_slice(&reply)?;
    anyhow::ensure!(reply["value"].is_string(), "{key:?} is not there: {reply}");
    Ok(())
}

fn write_lines(path: &Path, keys: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let value = "v".repeat(VALUE_BYTES);
    for key in keys {
        writeln!(file, r#"{{"key":"{key}","value":"{value}"}}"#)?;
    }
    file.flush()
}
