//! The commands, one file each.

mod add_node;
mod bench;
mod completions;
mod delete;
mod explain;
mod export;
mod fsck;
mod get;
mod import;
mod init;
pub(crate) mod lab;
mod locate;
mod migrate;
mod plan;
mod put;
mod rebalance;
mod rebalancing;
mod remove_node;
mod restore_layout;
mod set_node;
mod status;
pub(crate) mod strategy;

use std::io::{self, Stdin};

use kv_consul::ConsulConfig;
use kv_system::streams;
use kvclient::{Client, ClientConfig, ClientError, Creation};

use crate::cli::{Cli, Command, Globals};
use crate::failure::Failure;
use crate::output::Format;
use crate::{interrupt, output};

/// What every command is told.
pub(crate) struct Session {
    config: ClientConfig,
    format: Format,
}

/// Runs the command that was typed, until it ends or the process is asked to end.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    // These finish the operations under way, and say what they have done.
    let finishes = match &cli.command {
        Command::Import(_) | Command::Bench(_) | Command::AddNode(_) => true,
        Command::Put(put) => put.key.is_none(),
        _ => false,
    };
    tokio::select! {
        // A command that has something to say when it is interrupted comes before.
        biased;
        done = carry_out(cli) => done,
        () = asked_and_heard(), if !finishes => Err(match interrupt::what_is_open() {
            Some(open) => Failure::InterruptedChange { open },
            None => Failure::Interrupted,
        }),
    }
}

/// Waits until the process is asked to end, and the command has had its turn to hear of it.
async fn asked_and_heard() {
    interrupt::asked().await;
    tokio::task::yield_now().await;
}

async fn carry_out(Cli { globals, command }: Cli) -> Result<(), Failure> {
    // Some commands need no cluster, so nothing that is said of one can be wrong for them.
    let session = || Session::new(&globals);
    match command {
        Command::Put(arguments) => put::run(&session()?, arguments).await,
        Command::Get(arguments) => get::run(&session()?, arguments).await,
        Command::GetAll(only) => export::print(&session()?, &only).await,
        Command::Delete(arguments) => delete::run(&session()?, arguments).await,
        Command::Import(arguments) => import::run(&session()?, arguments).await,
        Command::Export(arguments) => export::run(&session()?, arguments).await,
        Command::Locate(arguments) => locate::run(&session()?, arguments).await,
        Command::Explain(arguments) => explain::run(&session()?, arguments).await,
        Command::Status => status::run(&session()?).await,
        Command::AddNode(arguments) => add_node::run(&session()?, arguments).await,
        Command::RemoveNode(arguments) => remove_node::run(&session()?, arguments).await,
        Command::SetNode(arguments) => set_node::run(&session()?, arguments).await,
        Command::Migrate(arguments) => migrate::run(&session()?, arguments).await,
        Command::Plan { change } => plan::run(&session()?, change).await,
        Command::Rebalance { action } => rebalance::run(&session()?, action).await,
        Command::RestoreLayout { epoch } => restore_layout::run(&session()?, epoch).await,
        Command::Fsck => fsck::run(&session()?).await,
        Command::Bench(arguments) => bench::run(&session()?, arguments).await,
        Command::Lab(arguments) => lab::run(&session()?, arguments).await,
        Command::Init(arguments) => init::run(&session()?, arguments).await,
        Command::Strategy { action } => strategy::run(action, globals.output).await,
        Command::Completions { shell } => completions::run(shell),
    }
}

impl Session {
    fn new(globals: &Globals) -> Result<Self, Failure> {
        let mut config = ClientConfig::new(ConsulConfig::resolve(globals.consul.as_deref())?);
        config.cluster = globals.cluster.clone();
        config.strategy = globals.strategy.clone();
        config.timeout = globals.timeout.0;
        Ok(Self { config, format: globals.output })
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let client = Client::connect(self.config.clone()).await?;
        if let Some(creation) = client.creation() {
            output::note(&describe(creation));
        }
        Ok(client)
    }

    fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Whether the write of `key` took effect is open.
fn open_write(key: &str) -> String {
    format!(
        "whether the write of {key:?} took effect is unknown. Read the key to find out, or write it again"
    )
}

/// Standard input.
///
/// # Errors
/// The process was started without one, which is not the same as an empty one.
fn stdin() -> Result<Stdin, Failure> {
    match streams::can_read_stdin() {
        true => Ok(io::stdin()),
        false => {
            Err(Failure::Usage("standard input cannot be read: it is not open for that".into()))
        }
    }
}

/// Does what computes without a pause, which is not allowed where others wait for their turn.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ClientError::Local(format!("its work: {error}")).into()))
}

/// The creation of a layout, in words.
fn describe(creation: &Creation) -> String {
    format!(
        "created cluster {} ({}): epoch {}, {} partitions on {} nodes ({}), placed by {} ({})",
        creation.name,
        creation.cluster,
        creation.epoch,
        creation.partitions,
        creation.nodes.len(),
        creation.nodes.join(", "),
        creation.strategy,
        creation.strategy_digest.short()
    )
}
