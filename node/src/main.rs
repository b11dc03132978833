//! `kvnode`: parses, logs, runs, exits.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::Parser;
use kvnode::config::{Cli, Command, NodeArgs};
use kvnode::node_error::NodeError;
use kvnode::stopping::{end_of_stdin, stop_signal};
use kvnode::{address_space, descriptors, dev, inherited, node, panics, private, words};

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    inherited::keep_from_children();
    words::start_log();
    panics::end_the_process();
    if let Err(error) = address_space::check() {
        words::say(format_args!("kvnode: cannot start: {error}"));
        words::finish();
        return ExitCode::FAILURE;
    }
    private::keep();
    if let Err(error) = descriptors::raise() {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            words::say(format_args!("kvnode: cannot start: {error}"));
            words::finish();
            return ExitCode::FAILURE;
        }
    };
    let code = match cli.command {
        None => match runtime.block_on(run_node(cli.node)) {
            Err(NodeError::StartsAnew) => start_anew(),
            result => report(result, NodeError::exit_code),
        },
        Some(Command::Dev(args)) => {
            report(runtime.block_on(dev::run(args)), dev::DevError::exit_code)
        }
    };
    // A read of standard input cannot be cancelled, and must not keep the process.
    runtime.shutdown_background();
    words::finish();
    code
}

/// Begins this program from the start in the same process, so that whoever watches it sees none of this.
/// Returns only where that fails.
fn start_anew() -> ExitCode {
    tracing::warn!("the node starts anew");
    let mut arguments = std::env::args_os();
    let mut program = std::process::Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    #[cfg(feature = "failpoints")]
    program.env_remove("FAILPOINTS");
    let error = program.args(arguments).exec();
    report(Err(NodeError::Io(error)), NodeError::exit_code)
}

async fn run_node(args: NodeArgs) -> Result<(), NodeError> {
    let signal = stop_signal()?;
    let with_stdin = args.stop_with_stdin;
    let stopped = async move {
        if with_stdin {
            tokio::select! {
                reason = signal => reason,
                reason = end_of_stdin() => reason,
            }
        } else {
            signal.await
        }
    };
    node::run(args, stopped).await
}

fn report<E: std::fmt::Display>(result: Result<(), E>, exit_code: fn(&E) -> u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            words::say(format_args!("kvnode: {error}"));
            ExitCode::from(exit_code(&error))
        }
    }
}
