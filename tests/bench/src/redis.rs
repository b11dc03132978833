//! A Redis cluster, for comparison.

use std::io::{BufWriter, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::server::{Server, eventually, free_port, run};

/// The slots of every Redis cluster.
const SLOTS: u16 = 16384;
/// Redis listens for other nodes this much above its port.
const BUS_PORT_OFFSET: u16 = 10_000;
/// How many keys one MIGRATE takes.
const PIPELINE: &str = "100";

/// Masters in cluster mode. All of it ends when this is dropped.
pub struct Redis {
    /// The masters, by the order in which they were started.
    masters: Vec<(u16, Server)>,
    // Dropped last, after the processes that write to it.
    directory: TempDir,
}

/// What Redis is, and how it keeps what it is told.
pub struct Described {
    /// Its version.
    pub version: String,
    /// Its settings `save` and `appendonly`.
    pub persistence: String,
}

/// Whether this machine has Redis.
pub fn is_installed() -> bool {
    ["redis-server", "redis-cli"].iter().all(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|it| it.status.success())
    })
}

impl Redis {
    /// Starts masters and makes them a cluster.
    pub async fn start(masters: usize) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory can be made")?;
        let mut redis = Self { masters: Vec::new(), directory };
        for _ in 0..masters {
            redis.spawn().await?;
        }
        let addresses: Vec<String> = redis.masters.iter().map(|(port, _)| address(*port)).collect();
        let mut args = vec!["--cluster", "create"];
        args.extend(addresses.iter().map(String::as_str));
        args.extend(["--cluster-replicas", "0", "--cluster-yes"]);
        redis.cli(&args, None).await?;
        redis.wait_until_agreed().await?;
        Ok(redis)
    }

    async fn spawn(&mut self) -> anyhow::Result<u16> {
        let port = port_with_bus()?;
        let name = format!("redis-{port}");
        let directory = self.directory.path().join(&name);
        std::fs::create_dir(&directory)?;
        // Everything that is not said here is Redis's default. A master that is emptied stays one, so
        // that the next round can fill it again.
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--cluster-enabled", "yes", "--cluster-allow-replica-migration", "no"])
            .args(["--shutdown-on-sigterm", "nosave", "--dir"])
            .arg(&directory);
        let server = Server::start_watched(&name, &command, self.directory.path())?;
        self.masters.push((port, server));
        eventually("a Redis that answers", async || {
            let answer = self.ask(port, &["ping"]).await;
            Ok(answer.is_ok_and(|it| it == "PONG").then_some(()))
        })
        .await?;
        Ok(port)
    }

    /// Starts one more master, which is a member without slots. Gives its number.
    pub async fn add(&mut self) -> anyhow::Result<usize> {
        let port = self.spawn().await?;
        let first = self.masters[0].0;
        self.cli(&["--cluster", "add-node", &address(port), &address(first)], None).await?;
        self.wait_until_agreed().await?;
        Ok(self.masters.len() - 1)
    }

    /// Moves slots to masters that have none, until all have as many. Gives how long that took.
    pub async fn rebalance(&self) -> anyhow::Result<Duration> {
        self.balance(&["--cluster-use-empty-masters"]).await
    }

    /// Moves all slots away from a master, which stays.
    pub async fn empty(&self, number: usize) -> anyhow::Result<()> {
        let id = self.ask(self.masters[number].0, &["cluster", "myid"]).await?;
        self.balance(&["--cluster-weight", &format!("{id}=0")]).await?;
        let keys = self.keys(number).await?;
        anyhow::ensure!(keys == 0, "Redis's emptied master has {keys} keys");
        Ok(())
    }

    async fn balance(&self, how: &[&str]) -> anyhow::Result<Duration> {
        let first = address(self.masters[0].0);
        let args = ["--cluster", "rebalance", &first, "--cluster-pipeline", PIPELINE];
        let (_, took) = self.cli(&[&args, how].concat(), None).await?;
        self.wait_until_agreed().await?;
        Ok(took)
    }

    /// The keys of a master.
    pub async fn keys(&self, number: usize) -> anyhow::Result<u64> {
        Ok(self.ask(self.masters[number].0, &["dbsize"]).await?.parse()?)
    }

    /// Stores keys, each at its slot's master, by pipelines.
    pub async fn load(
        &self,
        keys: impl Iterator<Item = String>,
        value_bytes: usize,
    ) -> anyhow::Result<()> {
        let owners = self.owners().await?;
        let file = |number: usize| self.directory.path().join(format!("load-{number}"));
        let create = |number| Ok(BufWriter::new(std::fs::File::create(file(number))?));
        let mut files = (0..self.masters.len()).map(create).collect::<std::io::Result<Vec<_>>>()?;
        let value = "v".repeat(value_bytes);
        for key in keys {
            let owner = owners[usize::from(slot(&key))];
            write_set(&mut files[owner], &key, &value)?;
        }
        for (number, mut written) in files.into_iter().enumerate() {
            written.flush()?;
            let port = self.masters[number].0.to_string();
            self.cli(&["-p", &port, "--pipe"], Some(&file(number))).await?;
            std::fs::remove_file(file(number))?;
        }
        Ok(())
    }

    /// The version of Redis, and how it persists.
    pub async fn describe(&self) -> anyhow::Result<Described> {
        let port = self.masters[0].0;
        let info = self.ask(port, &["info", "server"]).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let version = version.context("INFO tells the version")?.trim().to_owned();
        let config = self.ask(port, &["config", "get", "save", "appendonly"]).await?;
        Ok(Described { version, persistence: config.lines().collect::<Vec<_>>().join(" ") })
    }

    /// The number of the master that has each slot.
    async fn owners(&self) -> anyhow::Result<Vec<usize>> {
        let mut owners = vec![None; SLOTS.into()];
        let nodes = self.ask(self.masters[0].0, &["cluster", "nodes"]).await?;
        for line in nodes.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, address, ..] = words[..] else { bail!("not a node: {line}") };
            let port = address.split(['@', ':']).nth(1).and_then(|port| port.parse().ok());
            let number = self.masters.iter().position(|(it, _)| Some(*it) == port);
            let number = number.with_context(|| format!("not a node of ours: {line}"))?;
            for range in words.iter().skip(8) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let range = first.parse::<usize>()?..=last.parse()?;
                owners.get_mut(range).context("there is no such slot")?.fill(Some(number));
            }
        }
        owners.into_iter().collect::<Option<_>>().context("a slot has no master")
    }

    /// Waits until all masters know all masters, and who has which slot. A rebalance that begins
    /// before fails and leaves slots half moved.
    async fn wait_until_agreed(&self) -> anyhow::Result<()> {
        let first = address(self.masters[0].0);
        let known = format!("cluster_known_nodes:{}", self.masters.len());
        eventually("an agreement of all Redis masters", async || {
            for (port, _) in &self.masters {
                let info = self.ask(*port, &["cluster", "info"]).await?;
                if !info.contains("cluster_state:ok") || !info.contains(&known) {
                    return Ok(None);
                }
            }
            Ok(self.cli(&["--cluster", "check", &first], None).await.is_ok().then_some(()))
        })
        .await
    }

    async fn ask(&self, port: u16, command: &[&str]) -> anyhow::Result<String> {
        let (out, _) = self.cli(&[&["-p", &port.to_string()], command].concat(), None).await?;
        Ok(out.trim().to_owned())
    }

    async fn cli(&self, args: &[&str], input: Option<&Path>) -> anyhow::Result<(String, Duration)> {
        let mut command = Command::new("redis-cli");
        command.args(args);
        run(command, self.directory.path(), input).await
    }
}

/// Writes the command that stores a value, as Redis reads it.
pub fn write_set(to: &mut impl std::io::Write, key: &str, value: &str) -> std::io::Result<()> {
    let (key_bytes, value_bytes) = (key.len(), value.len());
    write!(to, "*3\r\n$3\r\nSET\r\n${key_bytes}\r\n{key}\r\n${value_bytes}\r\n{value}\r\n")
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A port that is free now, and so is the one for other nodes that belongs to it.
fn port_with_bus() -> anyhow::Result<u16> {
    free_port(|port| {
        let bus = port.checked_add(BUS_PORT_OFFSET);
        bus.is_some_and(|bus| TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok())
    })
}

/// The slot of a key without a hash tag: CRC-16/XMODEM.
fn slot(key: &str) -> u16 {
    let crc = key.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}
