//! `kvnode dev`: a cluster and an embedded Consul agent with one command.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::address::port_of;
use super::binaries::kvnode;
use super::environment::isolate;
use super::process::Process;

/// A running `kvnode dev`.
#[derive(Debug)]
pub struct Dev {
    /// The process.
    pub process: Process,
    /// Where it keeps everything.
    pub directory: PathBuf,
    address: String,
}

impl Dev {
    /// Starts `nodes` nodes with data in `directory`, at a Consul port that the system chooses.
    ///
    /// # Panics
    /// Where they do not become ready.
    #[track_caller]
    pub fn start(directory: &Path, nodes: u32) -> Self {
        Self::start_at(directory, nodes, 0)
    }

    /// [`start`](Self::start) at the Consul port `port`.
    ///
    /// # Panics
    /// Where they do not become ready.
    #[track_caller]
    pub fn start_at(directory: &Path, nodes: u32, port: u16) -> Self {
        let (dev, ready) = Self::start_any(directory, nodes, port);
        assert_eq!(ready, nodes);
        dev
    }

    /// [`start_at`](Self::start_at), where more nodes or fewer may have data already. Says how many
    /// there are.
    ///
    /// # Panics
    /// Where they do not become ready.
    #[track_caller]
    pub fn start_any(directory: &Path, nodes: u32, port: u16) -> (Self, u32) {
        Self::start_told(directory, nodes, port, &[])
    }

    /// [`start_any`](Self::start_any) with further arguments.
    ///
    /// # Panics
    /// Where they do not become ready.
    #[track_caller]
    pub fn start_told(directory: &Path, nodes: u32, port: u16, args: &[&str]) -> (Self, u32) {
        let process = Self::spawn(directory, nodes, port, args, &[]);
        let (dev, counted) = Self::when_ready(process, directory);
        (dev, counted.parse().expect("the line counts the nodes"))
    }

    /// Starts the process with further arguments, which [`when_ready`](Self::when_ready) waits for.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[track_caller]
    pub fn spawn(
        directory: &Path,
        nodes: u32,
        port: u16,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Process {
        let mut command = Command::new(kvnode());
        isolate(&mut command, directory);
        command
            .args(["dev", "--nodes", &nodes.to_string(), "--consul-port", &port.to_string()])
            .arg("--data-dir")
            .arg(directory)
            .args(args)
            .env("RUST_LOG", "info,sled=error")
            .envs(env.iter().copied());
        let log = directory.join("logs").join("dev.log");
        Process::start("kvnode dev", &mut command, &log)
    }

    /// Waits until `process` is ready, and says which nodes it counts.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn when_ready(mut process: Process, directory: &Path) -> (Self, String) {
        let ready = process.wait_for_line("ready: ");
        let (counted, url) = ready.split_once(", consul ").expect("the line names the Consul");
        let counted = counted.strip_prefix("ready: ").and_then(|it| it.strip_suffix(" nodes"));
        let counted = counted.expect("the line counts the nodes").to_owned();
        let address = url.strip_prefix("http://").expect("the Consul is a URL").to_owned();
        (Self { process, directory: directory.to_owned(), address }, counted)
    }

    /// The agent's host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The agent's port.
    pub fn port(&self) -> u16 {
        port_of(&self.address)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Asked to stop, it ends its nodes too, and they are done with its directory.
        self.process.stop_quietly();
    }
}
