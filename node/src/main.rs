//! `kvnode`: parses, logs, runs, exits.

use std::io;
use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use kv_system::{descriptors, inherited, private, resources};
use kvnode::config::{Command, NodeArgs};
use kvnode::limits::{DESCRIPTORS_MIN, STACK_BYTES_MIN, THREADS_BESIDE};
use kvnode::node_error::NodeError;

use kvnode::stopping::{end_of_stdin, stop_signal};
use kvnode::{address_space, allocator, command_line, node, panics, words};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    // Before anything that needs much of it.
    if let Err(error) = resources::stack(STACK_BYTES_MIN) {
        return cannot_start(&error);
    }
    run()
}

fn run() -> ExitCode {
    let cli = match command_line::understand() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let _failpoints = kv_system::failpoints::listen();
    inherited::keep_from_children();
    resources::mind_the_size_of_files();
    words::start_log();
    panics::end_the_process();
    let memory = cli.command.is_none().then(|| cli.node.memory());
    if let Err(error) = address_space::check(memory) {
        words::say(format_args!("kvnode: cannot start: {error}"));
        words::finish();
        return ExitCode::FAILURE;
    }
    if let Some(Err(error)) = memory.map(allocator::fit) {
        tracing::warn!("the allocator keeps what it likes: {error}");
    }
    private::keep();
    if let Err(error) = descriptors::raise() {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
    let runtime = match start(cli.command.as_ref()) {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(&error),
    };
    let code = match cli.command {
        None => match runtime.block_on(run_node(cli.node)) {
            Err(NodeError::StartsAnew) => start_anew(),
            result => report(result, NodeError::exit_code),
        },
        #[cfg(feature = "dev")]
        Some(Command::Dev(args)) => {
            report(runtime.block_on(kvnode::dev::run(args)), kvnode::dev::DevError::exit_code)
        }
    };
    // A read of standard input cannot be cancelled, and must not keep the process.
    runtime.shutdown_background();
    words::finish();
    code
}

fn cannot_start(error: &io::Error) -> ExitCode {
    words::say(format_args!("kvnode: cannot start: {error}"));
    words::finish();
    ExitCode::FAILURE
}

/// What runs a command, where the system gives what that needs.
fn start(command: Option<&Command>) -> io::Result<Runtime> {
    // ZeroMQ, the engine and the runtime take these for granted.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    resources::threads(processors + THREADS_BESIDE)?;
    resources::descriptors(match command {
        None => DESCRIPTORS_MIN,
        #[cfg(not(feature = "dev"))]
        Some(_) => DESCRIPTORS_MIN,
        #[cfg(feature = "dev")]
        Some(Command::Dev(args)) => kvnode::dev::descriptors_needed(args),
    })?;
    Runtime::new()
}

/// Begins this program from the start in the same process, so that its supervisor sees none of this.
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
