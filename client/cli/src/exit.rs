//! How a command ends: what is said about a failure, and the process's exit code.

use std::io::{self, Write};

use clap::CommandFactory;
use clap::builder::Styles;
use clap::error::ErrorKind;
use kv_consul::ConsulError;
use kv_placement::admission::NotAdmitted;
use kv_placement::{StrategyError, StrategyFault};
use kv_rebalance::RebalanceError;
use kvclient::ClientError;
use serde::Serialize;

use crate::cli::{Cli, Format};
use crate::{interrupt, output, visible};

pub(crate) const DONE: i32 = 0;
pub(crate) const NOT_FOUND: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const UNAVAILABLE: i32 = 3;
pub(crate) const REFUSED: i32 = 4;
pub(crate) const UNFINISHED: i32 = 5;
pub(crate) const UNDONE: i32 = 6;
pub(crate) const INTERRUPTED: i32 = 130;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The rebalance was not planned, begun or finished.
    #[error(transparent)]
    Rebalance(#[from] RebalanceError),
    /// Another command has paused the rebalance.
    #[error(
        "not finished: {what} waits, since another command has paused the rebalance (epoch {epoch}). Everything \
         is served; go on with `kvclient rebalance resume`, or undo it with `kvclient rebalance abort`"
    )]
    Paused { what: String, epoch: u64 },
    /// Another command has turned the rebalance back.
    #[error(
        "undone: {what} was turned back by another command, and the layout of epoch {epoch} is as it was \
         before"
    )]
    Undone { what: String, epoch: u64 },
    /// Another command has ended the rebalance, or changed the layout again.
    #[error(
        "not done: {what} was ended by another command before it was finished, or taken back since; \
         `kvclient status` shows the layout, of epoch {epoch}"
    )]
    Ended { what: String, epoch: u64 },
    /// Keys lie where they should not.
    #[error(
        "{strays} keys lie where they do not belong: they are listed above; please report this"
    )]
    Strays { strays: u64 },
    /// Nodes have records that nobody is served.
    #[error(
        "records are kept and not served by {nodes}: `kvclient status` says of which partitions, why, and what to do"
    )]
    Kept {
        /// The nodes' ids.
        nodes: String,
    },
    /// A strategy lacks what it is to have.
    #[error("strategy {strategy} lacks: {lacked}; the smallest counterexamples are listed above")]
    LacksProperties {
        strategy: String,
        /// The names of the properties.
        lacked: String,
    },
    /// Some strategies of the lab have an error for figures.
    #[error("{failed} of {of} strategies failed: their errors are beside the others' figures")]
    Lab { failed: usize, of: usize },
    /// There is no such record.
    #[error("there is no value of the key {key:?}")]
    NotFound { key: String },
    /// What was given cannot be used, such as a file that cannot be read.
    #[error("{0}")]
    Usage(String),
    /// An import ended early.
    #[error("{place}{cause} (the import ended early; records stored: {stored}{})", further(cause, *unknown))]
    Import {
        /// Which line it is about, for a person.
        place: String,
        cause: Box<Failure>,
        stored: u64,
        /// How many records were under way, and were given up.
        unknown: u64,
    },
    /// The process was asked to end, by Ctrl-C or another signal.
    #[error("interrupted")]
    Interrupted,
    /// The process was asked to end while it changed something.
    #[error("interrupted: {open}")]
    InterruptedChange {
        /// What may have been done or not, and how to find out.
        open: String,
    },
    /// This machine does not give what a program needs to run.
    #[error("cannot start: {0}")]
    Scarce(io::Error),
    /// Nobody reads standard output any more, so there is nobody to tell.
    #[error("standard output is closed")]
    OutputClosed,
}

impl From<StrategyError> for Failure {
    fn from(error: StrategyError) -> Self {
        Self::Client(error.into())
    }
}

impl From<ConsulError> for Failure {
    fn from(error: ConsulError) -> Self {
        Self::Client(error.into())
    }
}

impl Failure {
    /// A failure of this machine's files or streams. `what` says what was attempted.
    pub(crate) fn local(what: impl std::fmt::Display, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Usage(format!("{what}: {}", explained(&error)))
    }

    fn exit_code(&self) -> i32 {
        match self {
            Self::Client(error) => of_client(error),
            Self::Rebalance(error) => of_rebalance(error),
            Self::Strays { .. }
            | Self::Kept { .. }
            | Self::LacksProperties { .. }
            | Self::Lab { .. } => REFUSED,
            Self::Paused { .. } => UNFINISHED,
            Self::Undone { .. } | Self::Ended { .. } => UNDONE,
            Self::NotFound { .. } => NOT_FOUND,
            Self::Usage(_) => USAGE,
            Self::Scarce(_) => UNAVAILABLE,
            Self::Import { cause, .. } => cause.exit_code(),
            Self::Interrupted | Self::InterruptedChange { .. } => interrupt::exit_code(),
            Self::OutputClosed => DONE,
        }
    }

    /// What went wrong, as a stable word for programs.
    fn code(&self) -> String {
        match self {
            Self::Client(error) => error.code(),
            Self::Rebalance(error) => error.code(),
            Self::Strays { .. } => "strays".into(),
            Self::Kept { .. } => "kept".into(),
            Self::LacksProperties { .. } => "strategy_lacks_properties".into(),
            Self::Lab { .. } => "strategies_failed".into(),
            Self::Paused { .. } => "paused".into(),
            Self::Undone { .. } => "undone".into(),
            Self::Ended { .. } => "ended".into(),
            Self::NotFound { .. } => "not_found".into(),
            Self::Usage(_) => "usage".into(),
            Self::Scarce(_) => "local".into(),
            Self::Import { cause, .. } => cause.code(),
            Self::Interrupted | Self::InterruptedChange { .. } => "interrupted".into(),
            Self::OutputClosed => "output_closed".into(),
        }
    }
}

/// An error of this machine's files, with what to do about it where that is not plain.
pub(crate) fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::FileTooLarge => format!(
            "{error}: this process may make no longer files; raise the limit with `ulimit -f`"
        ),
        _ => error.to_string(),
    }
}

/// What there is to know further of an import that ended early.
fn further(cause: &Failure, unknown: u64) -> String {
    let mut text = String::new();
    if unknown > 0 {
        text.push_str(&format!("; {unknown} more were under way, and may be stored or not"));
    }
    if unknown > 0 || matches!(cause, Failure::Interrupted) {
        text.push_str("; to go on, run it again: to store a record twice does no harm");
    }
    text
}

fn of_client(error: &ClientError) -> i32 {
    match error {
        ClientError::Consul(error) => of_consul(error),
        ClientError::Strategy(error) => of_strategy(error),
        ClientError::InvalidKey(_) | ClientError::UnknownEpoch { .. } => USAGE,
        ClientError::NotAdmitted(NotAdmitted::Lacks { .. })
        | ClientError::StrategyMismatch { .. }
        | ClientError::TableMismatch { .. }
        | ClientError::Layout(_)
        | ClientError::LayoutUnreadable { .. }
        | ClientError::AlreadyCreated { .. }
        | ClientError::OtherCluster { .. }
        | ClientError::NodesHidden { .. }
        | ClientError::ValueTooLarge(_)
        | ClientError::Refused { .. } => REFUSED,
        // What remains is about who cannot be reached or does not answer properly.
        _ => UNAVAILABLE,
    }
}

fn of_rebalance(error: &RebalanceError) -> i32 {
    match error {
        RebalanceError::Client(error) => of_client(error),
        RebalanceError::UnknownNode { .. } => USAGE,
        RebalanceError::NodeDown { .. }
        | RebalanceError::NodeBehind { .. }
        | RebalanceError::ConsulWentBack { .. } => UNAVAILABLE,
        _ => REFUSED,
    }
}

fn of_consul(error: &ConsulError) -> i32 {
    match error {
        ConsulError::InvalidConfig { .. } => USAGE,
        ConsulError::PermissionDenied { .. } | ConsulError::ValueTooLarge { .. } => REFUSED,
        _ => UNAVAILABLE,
    }
}

fn of_strategy(error: &StrategyError) -> i32 {
    match error.fault() {
        StrategyFault::UnknownName { .. }
        | StrategyFault::NotFound { .. }
        | StrategyFault::NotAFile { .. }
        | StrategyFault::Unreadable(_) => USAGE,
        // What the clock stopped may go well elsewhere, or later.
        StrategyFault::OutOfTime { .. } | StrategyFault::CompileTime { .. } => UNAVAILABLE,
        _ => REFUSED,
    }
}

/// Says what went wrong, if anything did, and gives the exit code.
pub(crate) fn report(result: Result<(), Failure>, format: Format) -> i32 {
    let Err(failure) = result else { return DONE };
    if !matches!(failure, Failure::OutputClosed) {
        say(&failure.code(), &failure.to_string(), format);
    }
    failure.exit_code()
}

/// Ends the process after a command line that asks for help or is not understood.
pub(crate) fn not_understood(error: &clap::Error) -> ! {
    let helps = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // The command line says how errors are wanted, even where the rest of it is not understood.
    let arguments: Vec<_> = std::env::args_os().collect();
    let json = arguments.iter().any(|it| it == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if json && !helps {
        say("usage", error.to_string().trim(), Format::Json);
        std::process::exit(USAGE);
    }
    // The library's way to end would take help that cannot be written for help that was.
    let written = match helps {
        true => {
            output::stdout().and_then(|stdout| print(error, stdout).map_err(output::not_written))
        }
        false => print(error, io::stderr()).map_err(output::not_written),
    };
    match written {
        Err(failure) if helps => std::process::exit(report(Err(failure), Format::Text)),
        _ => std::process::exit(error.exit_code()),
    }
}

/// Prints in colours, unless there is something in it that would act on a terminal.
fn print(error: &clap::Error, mut stream: impl Write) -> io::Result<()> {
    // Without any styles of the library's, what acts is not its own.
    let plain = Cli::command().styles(Styles::plain()).try_get_matches_from(std::env::args_os());
    let text = plain.as_ref().err().unwrap_or(error).render().ansi().to_string();
    let shown = visible::lines(&text);
    if shown == text {
        error.print()?
    } else {
        stream.write_all(shown.as_bytes())?
    }
    stream.flush()
}

fn say(code: &str, message: &str, format: Format) {
    #[derive(Serialize)]
    struct Report<'a> {
        error: Description<'a>,
    }
    #[derive(Serialize)]
    struct Description<'a> {
        code: &'a str,
        message: &'a str,
    }
    let mut json = Vec::new();
    let written = visible::json(&mut json, &Report { error: Description { code, message } });
    match (format, String::from_utf8(json)) {
        (Format::Json, Ok(json)) if written.is_ok() => output::note(&json),
        _ => output::note(&format!("error: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::refusal::{ErrorCode, Refusal, too_large};
    use kv_placement::StrategySource;

    use super::*;

    fn refused(code: ErrorCode) -> Failure {
        let refusal = Refusal::new(code, "no");
        ClientError::Refused { node: "node-0".into(), refusal }.into()
    }

    #[test]
    fn every_kind_of_failure_has_its_code() {
        let strategy =
            |name: &str| ClientError::Strategy(name.parse::<StrategySource>().unwrap_err());
        let consul =
            |status| ConsulError::Status { request: String::new(), status, excerpt: String::new() };
        let unknown = ClientError::OutcomeUnknown { key: "k".into(), problem: "lost".into() };
        let late = ClientError::Unavailable { timeout: Duration::ZERO, problem: String::new() };
        let no_nodes = ClientError::NoNodes { cluster: String::new(), consul: String::new() };
        let mismatch = ClientError::StrategyMismatch {
            pinned: String::new(),
            pinned_digest: String::new(),
            given: String::new(),
            given_digest: String::new(),
        };
        let denied = |excerpt: &str| ConsulError::PermissionDenied {
            request: "PUT /v1/session/create".into(),
            excerpt: excerpt.into(),
        };
        let stopped = |what: &str| (what.to_owned(), 7);
        let (what, epoch) = stopped("remove node-1");
        let paused = Failure::Paused { what, epoch };
        let (what, epoch) = stopped("remove node-1");
        let undone = Failure::Undone { what, epoch };
        let (what, epoch) = stopped("remove node-1");
        let ended = Failure::Ended { what, epoch };
        let leaderless = ConsulError::Status {
            request: "GET /v1/kv/a".into(),
            status: 500,
            excerpt: "No cluster leader".into(),
        };
        let hidden = ClientError::NodesHidden { consul: String::new() };
        let config = ConsulError::InvalidConfig { setting: String::new(), problem: String::new() };
        for (failure, exit_code, code) in [
            (Failure::NotFound { key: "k".into() }, NOT_FOUND, "not_found"),
            (Failure::Usage(String::new()), USAGE, "usage"),
            (config.into(), USAGE, "consul"),
            (strategy("no-such-one").into(), USAGE, "strategy_unknown"),
            (ClientError::InvalidKey(too_large("the key", 9, 8)).into(), USAGE, "too_large"),
            (consul(500).into(), UNAVAILABLE, "consul"),
            (leaderless.into(), UNAVAILABLE, "consul_no_leader"),
            (denied("Permission denied").into(), REFUSED, "consul_denied"),
            (denied("ACL not found").into(), REFUSED, "consul_token_unknown"),
            (hidden.into(), REFUSED, "consul_nodes_hidden"),
            (paused, UNFINISHED, "paused"),
            (undone, UNDONE, "undone"),
            (ended, UNDONE, "ended"),
            (no_nodes.into(), UNAVAILABLE, "no_nodes"),
            (late.into(), UNAVAILABLE, "unavailable"),
            (unknown.into(), UNAVAILABLE, "outcome_unknown"),
            (mismatch.into(), REFUSED, "strategy_mismatch"),
            (ClientError::ValueTooLarge(too_large("it", 9, 8)).into(), REFUSED, "too_large"),
            (refused(ErrorCode::Conflict), REFUSED, "conflict"),
            (refused(ErrorCode::Corrupt), REFUSED, "corrupt"),
            (refused(ErrorCode::DiskFull), REFUSED, "disk_full"),
            (Failure::Kept { nodes: "node-1".into() }, REFUSED, "kept"),
            (refused(ErrorCode::WrongCluster), REFUSED, "wrong_cluster"),
            (Failure::Scarce(io::ErrorKind::WouldBlock.into()), UNAVAILABLE, "local"),
            (Failure::Interrupted, INTERRUPTED, "interrupted"),
            (Failure::OutputClosed, DONE, "output_closed"),
        ] {
            let shown = failure.to_string();
            assert_eq!((failure.exit_code(), &*failure.code()), (exit_code, code), "{shown}");
        }
    }

    #[test]
    fn an_import_ends_as_its_cause_does() {
        let cause = Box::new(refused(ErrorCode::DiskFull));
        let failure = Failure::Import { place: "line 7: ".into(), cause, stored: 6, unknown: 0 };
        assert_eq!((failure.exit_code(), &*failure.code()), (REFUSED, "disk_full"));
        let text = failure.to_string();
        assert!(text.contains("line 7") && text.contains("stored: 6"), "{text}");
        let cause = Box::new(Failure::Interrupted);
        let failure = Failure::Import { place: String::new(), cause, stored: 6, unknown: 3 };
        let text = failure.to_string();
        assert!(text.contains("3 more were under way") && text.contains("run it again"), "{text}");
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::local("writing", broken), Failure::OutputClosed));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::local("writing", full).exit_code(), USAGE);
    }
}
