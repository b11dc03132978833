//! A memcached, which keeps everything in memory, and a client that speaks its text protocol.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::mix::Peer;
use kv_bench::server::{Server, eventually, free_port};

/// A memcached. It ends when this is dropped.
pub(crate) struct Memcached {
    port: u16,
    _server: Server,
    _directory: TempDir,
}

impl Memcached {
    /// Whether this machine has it.
    pub(crate) fn is_installed() -> bool {
        Command::new("memcached").arg("-V").output().is_ok_and(|it| it.status.success())
    }

    /// Starts one without data.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory can be made")?;
        let port = free_port(|_| true)?;
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-m", "1024"]);
        if rustix::process::geteuid().is_root() {
            // It refuses to run as the superuser unless it is told to.
            command.args(["-u", "root"]);
        }
        let server = Server::start_watched("memcached", &command, directory.path())?;
        let memcached = Self { port, _server: server, _directory: directory };
        eventually("a memcached that answers", async || Ok(memcached.clients(1).await.ok()))
            .await?;
        Ok(memcached)
    }

    /// Clients, each with a connection of its own.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<MemcachedClient>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.set_nodelay(true)?;
            let stream = BufReader::new(stream);
            clients.push(MemcachedClient { stream, line: String::new(), value: Vec::new() });
        }
        Ok(clients)
    }
}

/// A connection to memcached.
pub(crate) struct MemcachedClient {
    stream: BufReader<TcpStream>,
    line: String,
    value: Vec<u8>,
}

impl MemcachedClient {
    async fn line(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        self.stream.read_line(&mut self.line).await?;
        Ok(self.line.trim_end())
    }
}

impl Peer for MemcachedClient {
    async fn read(&mut self, key: &str) -> anyhow::Result<()> {
        self.stream.write_all(format!("get {key}\r\n").as_bytes()).await?;
        let line = self.line().await?;
        let bytes = line.rsplit(' ').next().filter(|_| line.starts_with("VALUE "));
        let bytes: usize = bytes.with_context(|| format!("{key:?}: {line}"))?.parse()?;
        // The value ends with a line break.
        self.value.resize(bytes + 2, 0);
        self.stream.read_exact(&mut self.value).await?;
        let end = self.line().await?;
        anyhow::ensure!(end == "END", "memcached ends an answer with {end:?}");
        Ok(())
    }

    async fn update(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let mut command = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        command.extend_from_slice(value);
        command.extend_from_slice(b"\r\n");
        self.stream.write_all(&command).await?;
        let line = self.line().await?;
        anyhow::ensure!(line == "STORED", "memcached: {line}");
        Ok(())
    }
}
