//! Where words go: data to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// Logs to standard error: what `RUST_LOG` asks for, or else warnings, and more where it is verbose.
pub(crate) fn log(verbose: bool) {
    let usual = if verbose { "warn,kvclient=debug,kv_protocol=debug" } else { "warn" };
    let asked = std::env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let filter = EnvFilter::new(asked.as_deref().unwrap_or(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Writes data.
pub(crate) fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(not_written)
}

/// Writes an object of JSON as a line of data.
pub(crate) fn json(object: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(object).map_err(|error| not_written(error.into()))?;
    line.push(b'\n');
    data(&line)
}

/// Says something that is not data.
pub(crate) fn note(text: &str) {
    // A closed standard error is nobody's problem.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether data goes to a person.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn not_written(error: io::Error) -> Failure {
    Failure::local("standard output cannot be written", error)
}

/// A table of texts, with its columns aligned. All but the first column are aligned to the right
/// where `numbers` says so.
pub(crate) fn table(header: &[&str], numbers: &[bool], rows: &[Vec<String>]) -> String {
    let cells = |row: usize| -> Vec<&str> {
        if row == 0 { header.to_vec() } else { rows[row - 1].iter().map(String::as_str).collect() }
    };
    let lines: Vec<Vec<&str>> = (0..=rows.len()).map(cells).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for cells in lines {
        let mut line = String::new();
        for ((cell, width), number) in cells.iter().zip(&widths).zip(numbers) {
            let cell =
                if *number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "10".into()], vec!["node-10".into(), "7".into()]];
        let expected = "NODE     KEYS\na          10\nnode-10     7\n";
        assert_eq!(table(&["NODE", "KEYS"], &[false, true], &rows), expected);
    }
}
