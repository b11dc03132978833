//! One Redis with an append-only file, and its own load generator.

use std::io::{BufWriter, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::fleet::VALUE_BYTES;
use crate::process;
use crate::redis::write_set;
use crate::server::{Server, eventually, free_port, run};

/// How many operations tell how fast Redis is, before it is measured.
const TRIAL_OPERATIONS: usize = 20_000;

/// When Redis syncs what it appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before it acknowledges a write.
    Always,
    /// Once a second.
    EverySecond,
}

/// A Redis that is no cluster. It ends when this is dropped.
pub struct Standalone {
    port: u16,
    fsync: Fsync,
    server: Option<Server>,
    // Dropped last, after the server that writes to it.
    directory: TempDir,
}

/// What Redis's load generator does.
#[derive(Clone, Copy, Debug)]
pub struct Pipelines<'a> {
    /// The command, in lower case.
    pub test: &'a str,
    /// How many keys it draws from.
    pub keys: usize,
    /// How many connections it has.
    pub clients: usize,
    /// How many operations each has under way.
    pub depth: usize,
}

impl Standalone {
    /// Starts one without data.
    pub async fn start(fsync: Fsync) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory can be made")?;
        let mut redis = Self { port: free_port(|_| true)?, fsync, server: None, directory };
        redis.launch().await?;
        Ok(redis)
    }

    /// Starts it on the data that it has, and gives the time until it has read them.
    pub async fn launch(&mut self) -> anyhow::Result<Duration> {
        let fsync = match self.fsync {
            Fsync::Always => "always",
            Fsync::EverySecond => "everysec",
        };
        // Everything that is not said here is Redis's default.
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", fsync, "--dir"])
            .arg(self.directory.path());
        let began = Instant::now();
        self.server = Some(Server::start_watched("redis", &command, self.directory.path())?);
        let port = self.port;
        eventually("a Redis with its data", async || Ok(answers(port).then_some(()))).await?;
        Ok(began.elapsed())
    }

    /// Stores keys, each with a value of [`VALUE_BYTES`].
    pub async fn load(&self, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let path = self.directory.path().join("load");
        let mut file = BufWriter::new(std::fs::File::create(&path)?);
        let mut random = SmallRng::seed_from_u64(0);
        for key in keys {
            // Redis makes what repeats itself shorter, in its files.
            let letters = (0..VALUE_BYTES).map(|_| char::from(random.random_range(b' '..=b'~')));
            write_set(&mut file, &key, &letters.collect::<String>())?;
        }
        file.flush()?;
        self.cli(&["--pipe"], Some(&path)).await?;
        Ok(std::fs::remove_file(path)?)
    }

    /// Operations per second of some kind, measured for about `time`.
    pub async fn rate(&self, load: Pipelines<'_>, time: Duration) -> anyhow::Result<f64> {
        let trial = self.benchmark(load, TRIAL_OPERATIONS).await?;
        let operations = (trial * time.as_secs_f64()) as usize;
        self.benchmark(load, operations.max(TRIAL_OPERATIONS)).await
    }

    /// Carries out so many operations and gives their number per second.
    pub async fn benchmark(&self, load: Pipelines<'_>, operations: usize) -> anyhow::Result<f64> {
        let mut command = Command::new("redis-benchmark");
        let numbers = [
            ("-p", usize::from(self.port)),
            ("-c", load.clients),
            ("-P", load.depth),
            ("-n", operations),
            ("-r", load.keys),
            ("-d", VALUE_BYTES),
        ];
        for (option, number) in numbers {
            command.args([option, &number.to_string()]);
        }
        command.args(["-t", load.test, "--csv"]);
        let (out, _) = run(command, self.directory.path(), None).await?;
        // The name, then the rate, then latencies, each in quotes.
        let line = out.lines().nth(1).with_context(|| format!("no figures: {out}"))?;
        let rate = line.split(',').nth(1).with_context(|| format!("no rate: {line}"))?;
        Ok(rate.trim_matches('"').parse()?)
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        process::signal(self.pid().await?, Signal::KILL)?;
        // Its directory may be used anew only once its handle, dropped here, has seen it end.
        self.server = None;
        Ok(())
    }

    /// Sends it SIGTERM and gives the time until it has ended.
    pub async fn terminate(&mut self) -> anyhow::Result<Duration> {
        let pid = self.pid().await?;
        let began = Instant::now();
        process::signal(pid, Signal::TERM)?;
        eventually("the end of Redis", async || Ok(process::has_ended(pid).then_some(()))).await?;
        let took = began.elapsed();
        self.server = None;
        Ok(took)
    }

    /// Its process.
    pub async fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.info("server", "process_id").await?.parse()?)
    }

    /// Waits until no file is being rewritten in the background.
    pub async fn settled(&self) -> anyhow::Result<()> {
        eventually("Redis's append-only file to be rewritten", async || {
            let rewriting = self.info("persistence", "aof_rewrite_in_progress").await?;
            Ok((rewriting == "0").then_some(()))
        })
        .await
    }

    async fn info(&self, section: &str, name: &str) -> anyhow::Result<String> {
        let info = self.cli(&["info", section], None).await?;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.with_context(|| format!("INFO does not tell {name}"))?.trim().to_owned())
    }

    async fn cli(&self, args: &[&str], input: Option<&Path>) -> anyhow::Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(args);
        Ok(run(command, self.directory.path(), input).await?.0)
    }
}

/// Whether the Redis at `port` serves. While it loads its data, it answers with an error.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ask().unwrap_or(false)
}
