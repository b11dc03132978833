//! How a command ends: its words about a failure, and the process's exit code.

use std::io::{self, Write};

use clap::builder::Styles;
use clap::error::ErrorKind;
use serde::Serialize;

use crate::failure::{DONE, Failure, USAGE};
use crate::output::Format;
use crate::{output, visible};

/// Says what went wrong, if anything did, and gives the exit code.
pub(crate) fn report(result: Result<(), Failure>, format: Format) -> i32 {
    let Err(failure) = result else { return DONE };
    if !matches!(failure, Failure::OutputClosed) {
        say(&failure.code(), &failure.to_string(), format);
    }
    failure.exit_code()
}

/// Ends the process after a command line that asks for help or is not understood. `definition` is what it
/// was to follow.
pub(crate) fn not_understood(error: &clap::Error, definition: clap::Command) -> ! {
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
        true => output::stdout()
            .and_then(|stdout| print(error, definition, stdout).map_err(output::not_written)),
        false => print(error, definition, io::stderr()).map_err(output::not_written),
    };
    match written {
        Err(failure) if helps => std::process::exit(report(Err(failure), Format::Text)),
        _ => std::process::exit(error.exit_code()),
    }
}

/// Prints in colours, unless there is something in it that would act on a terminal.
fn print(error: &clap::Error, definition: clap::Command, mut stream: impl Write) -> io::Result<()> {
    // Without any styles of the library's, what acts is not its own.
    let plain = definition.styles(Styles::plain()).try_get_matches_from(std::env::args_os());
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
