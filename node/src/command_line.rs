//! Understands the command line, or ends with what there is to say about it.
//!
//! Help and errors repeat arguments and variables, which may hold anything. A terminal is shown them, and is
//! not steered by them.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::Styles;
use clap::{CommandFactory, Parser};
use kv_core::printable::printable_lines;
use kv_system::streams;

use crate::config::Cli;
use crate::words;

/// What `args` and the environment ask for.
///
/// # Errors
/// How the process ends, where that is all: help was asked for, or the arguments are wrong. It has been said.
pub fn understand() -> Result<Cli, ExitCode> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX));
    if error.use_stderr() {
        // Where standard error fails, no reader is left to tell.
        let _ = print(&error, io::stderr());
        return Err(code);
    }
    let written = match streams::can_write_stdout() {
        true => print(&error, io::stdout()),
        false => Err(io::Error::other("it is not open for writing")),
    };
    match written {
        // A reader that has enough is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            words::say(format_args!("kvnode: standard output cannot be written: {error}"));
            Err(ExitCode::FAILURE)
        }
        _ => Err(code),
    }
}

/// Prints in colours, unless there is something in it that would act on a terminal.
fn print(error: &clap::Error, mut stream: impl Write) -> io::Result<()> {
    // Without any styles of the library's, what acts is not its own.
    let plain = Cli::command().styles(Styles::plain()).try_get_matches_from(std::env::args_os());
    let text = plain.as_ref().err().unwrap_or(error).render().ansi().to_string();
    let shown = printable_lines(&text);
    if shown == text {
        error.print()?;
    } else {
        stream.write_all(shown.as_bytes())?;
    }
    stream.flush()
}
