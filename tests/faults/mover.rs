//! `kvclient` as the mover of a rebalance: a process that may be stopped and killed at any moment.

use std::process::Command;

use kv_testkit::harness::Cluster;
use kv_testkit::harness::binaries::kvclient;
use kv_testkit::harness::environment::isolate;
use kv_testkit::harness::process::Process;
use rustix::process::Signal;

/// What a mover is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order<'a> {
    /// To add so many nodes.
    Add(u32),
    /// To remove the node with this id.
    Remove(&'a str),
    /// To adopt this strategy.
    Migrate(&'a str),
    /// To go on with what another began.
    Resume,
    /// To undo what another began.
    Abort,
}

/// A running mover. It is killed when this is dropped.
pub(super) struct Mover {
    process: Process,
    /// Whether it was stopped in its tracks.
    pub(super) is_frozen: bool,
}

impl Order<'_> {
    /// The command's arguments.
    pub(super) fn args(self) -> Vec<String> {
        let words = match self {
            Self::Add(count) => {
                return ["add-node", "--count", &count.to_string()].map(Into::into).into();
            }
            Self::Remove(id) => ["remove-node", id],
            Self::Migrate(strategy) => return ["migrate", "--to", strategy].map(Into::into).into(),
            Self::Resume => ["rebalance", "resume"],
            Self::Abort => ["rebalance", "abort"],
        };
        words.map(Into::into).into()
    }
}

impl Mover {
    /// Starts one in `cluster`.
    pub(super) fn start(cluster: &Cluster, order: Order<'_>) -> Self {
        let mut command = Command::new(kvclient());
        isolate(&mut command, cluster.directory());
        command.args(["--consul", &cluster.consul(), "--cluster", cluster.name()]);
        command.args(order.args()).env("RUST_LOG", "info");
        let log = cluster.directory().join("logs").join("movers.log");
        Self { process: Process::start("kvclient", &mut command, &log), is_frozen: false }
    }

    /// Whether it works still.
    pub(super) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Kills it without warning.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in its tracks, or lets it go on.
    pub(super) fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
        self.process.signal(if is_frozen { Signal::STOP } else { Signal::CONT });
    }

    /// What it says, where that is the trace of a mistake: of a command line that is not understood, or
    /// of a panic.
    pub(super) fn mistake(&self) -> Option<String> {
        let log = self.log();
        ["Usage: ", "panicked at"].iter().any(|trace| log.contains(trace)).then_some(log)
    }

    /// What it has printed.
    pub(super) fn log(&self) -> String {
        self.process.log()
    }
}
