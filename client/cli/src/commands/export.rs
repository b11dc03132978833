//! `kvclient export`: writes everything as lines of JSON.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::TryStreamExt;
use kv_system::replacement::{Fresh, Replacement};
use kv_system::streams;

use crate::blocking::blocking;
use crate::failure::{Failure, explained};
use crate::progress::{Progress, Summary};
use crate::session::Session;
use crate::{interrupt, ndjson, output};

/// Write everything as lines of JSON
#[derive(Debug, Args)]
#[command(after_help = "\
A FILE is replaced only when everything has been read; until then it stays as it was. A link is followed. A
new FILE is for its owner only, since it may hold everything that is stored; one that is there keeps its
owner and mode.

Examples:
  kvclient export backup.ndjson
  kvclient export --prefix user/ | wc -l")]
pub(crate) struct Export {
    /// The file; standard output where it is - or missing. A new one is for its owner only (mode 600);
    /// one that is there keeps its owner and mode
    file: Option<PathBuf>,
    /// Only keys that start with this
    #[arg(long, default_value = "")]
    prefix: String,
}

/// What the system calls standard output.
const STDOUT_NAMES: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// How much is gathered before it is written, in bytes.
const BUFFER_BYTES_TARGET: usize = 256 << 10;

impl Export {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let file = self.file.filter(|path| path != Path::new("-"));
        let destination = match file {
            // To open a named pipe is to wait for its reader.
            Some(path) => blocking(move || Destination::file(path)).await?,
            None => Destination::Stdout,
        };
        let data_is_out = matches!(destination, Destination::Stdout);
        let summary = write_all(session, &self.prefix, destination).await?;
        summary.tell("wrote", session.format, data_is_out)
    }
}

/// Writes every record whose key starts with `prefix`.
pub(super) async fn write_all(
    session: &Session,
    prefix: &str,
    mut destination: Destination,
) -> Result<Summary, Failure> {
    let client = session.connect().await?;
    let mut everything = std::pin::pin!(client.get_all(prefix));
    let mut progress = Progress::begin(None);
    let shown = matches!(destination, Destination::Stdout) && output::is_terminal();
    let mut buffer = Vec::with_capacity(BUFFER_BYTES_TARGET);
    while let Some((key, record)) = everything.try_next().await? {
        let before = buffer.len();
        ndjson::write_line(&mut buffer, &key, &record.value, shown);
        progress.add(1, (buffer.len() - before) as u64);
        if buffer.len() >= BUFFER_BYTES_TARGET {
            destination.write(&mut buffer)?;
        }
    }
    destination.write(&mut buffer)?;
    destination.finish()?;
    Ok(progress.end())
}

/// Where an export goes.
pub(super) enum Destination {
    Stdout,
    /// An entry that exists and is no regular file, such as a named pipe.
    Special(PathBuf, File),
    /// A file that takes its place once it is whole.
    Replacement(PathBuf, Replacement),
}

impl Destination {
    fn file(path: PathBuf) -> Result<Self, Failure> {
        if is_stdout(&path) {
            return Ok(Self::Stdout);
        }
        let unwritable = |error| unwritable(&path, &error);
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(&path).map_err(unwritable)?;
            return Ok(Self::Special(path, file));
        }
        let replacement = Replacement::begin(&path, Fresh::Private).map_err(unwritable)?;
        interrupt::remove_at_end(replacement.temporary().map(Path::to_owned));
        Ok(Self::Replacement(path, replacement))
    }

    /// Writes and empties the buffer.
    fn write(&mut self, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        // Writing may block for long, such as to a pipe whose reader rests.
        tokio::task::block_in_place(|| match self {
            Self::Stdout => output::stdout()?.write_all(buffer).map_err(output::not_written),
            Self::Special(path, file) => {
                file.write_all(buffer).map_err(|error| unwritable(path, &error))
            }
            Self::Replacement(path, file) => {
                file.write_all(buffer).map_err(|error| unwritable(path, &error))
            }
        })?;
        buffer.clear();
        Ok(())
    }

    /// Makes the written lines durable, and visible under their name.
    fn finish(self) -> Result<(), Failure> {
        tokio::task::block_in_place(|| match self {
            Self::Stdout => output::stdout()?.flush().map_err(output::not_written),
            Self::Special(..) => Ok(()),
            Self::Replacement(path, file) => {
                file.finish().map_err(|error| unwritable(&path, &error))
            }
        })
    }
}

/// Whether `path` is what standard output is, such as `/dev/stdout`, or a file that it was led to: that goes
/// on where it is, and is not replaced.
fn is_stdout(path: &Path) -> bool {
    if !streams::can_write_stdout() {
        // Another file may have its descriptor by now, so that only these names mean it.
        return STDOUT_NAMES.iter().any(|name| path == Path::new(name));
    }
    let stdout = rustix::fs::fstat(io::stdout());
    let same = |(there, stdout): (Metadata, rustix::fs::Stat)| {
        (there.dev(), there.ino()) == (stdout.st_dev, stdout.st_ino)
    };
    path.metadata().ok().zip(stdout.ok()).is_some_and(same)
}

/// Also where the reader of a pipe has gone: the user who named it is to know.
fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be written: {}", path.display(), explained(error)))
}
