//! `kvclient export` and `get-all`: everything, as lines of JSON.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use tempfile::NamedTempFile;

use super::Session;
use crate::cli::{Export, Prefix};
use crate::exit::Failure;
use crate::ndjson;
use crate::output;
use crate::progress::{Progress, Summary};

/// How much is gathered before it is written, in bytes.
const BUFFER_BYTES_TARGET: usize = 256 << 10;

pub(super) async fn run(session: &Session, export: Export) -> Result<(), Failure> {
    match export.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let destination = Destination::file(path)?;
            tokio::select! {
                summary = write_all(session, &export.only, destination) => {
                    summary?.tell("wrote", session.format, false)
                }
                // The half-written file beside the old one goes away with its future.
                _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
            }
        }
        None => {
            let summary = write_all(session, &export.only, Destination::Stdout).await?;
            summary.tell("wrote", session.format, true)
        }
    }
}

/// Prints everything: an export without a word about it.
pub(super) async fn print(session: &Session, only: &Prefix) -> Result<(), Failure> {
    write_all(session, only, Destination::Stdout).await.map(drop)
}

async fn write_all(
    session: &Session,
    only: &Prefix,
    mut destination: Destination,
) -> Result<Summary, Failure> {
    let client = session.connect().await?;
    let mut everything = std::pin::pin!(client.get_all(&only.prefix));
    let mut progress = Progress::begin(None);
    let mut buffer = Vec::with_capacity(BUFFER_BYTES_TARGET);
    while let Some((key, record)) = everything.try_next().await? {
        let before = buffer.len();
        ndjson::write_line(&mut buffer, &key, &record.value);
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
enum Destination {
    Stdout,
    /// What is there already and is no regular file, such as a named pipe.
    Special(PathBuf, File),
    /// A new file beside the one that it will replace.
    Replacement(PathBuf, NamedTempFile),
}

impl Destination {
    fn file(path: &Path) -> Result<Self, Failure> {
        let unwritable = unwritable(path);
        // A link is followed, so that its file is replaced and not the link.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Ok(metadata) = target.metadata()
            && !metadata.is_file()
        {
            let file = File::options().write(true).open(&target).map_err(unwritable)?;
            return Ok(Self::Special(target, file));
        }
        let directory = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // As any new file is, so that the user's umask decides who may read it.
        let usual = Permissions::from_mode(0o666);
        let file = tempfile::Builder::new()
            .prefix(".kvclient-export-")
            .permissions(usual)
            .tempfile_in(directory)
            .map_err(unwritable)?;
        Ok(Self::Replacement(target, file))
    }

    /// Writes and empties the buffer.
    fn write(&mut self, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        // Writing may block for long, such as to a pipe that nobody reads.
        tokio::task::block_in_place(|| match self {
            Self::Stdout => io::stdout().lock().write_all(buffer).map_err(output::not_written),
            Self::Special(path, file) => file.write_all(buffer).map_err(unwritable(path)),
            Self::Replacement(path, file) => file.write_all(buffer).map_err(unwritable(path)),
        })?;
        buffer.clear();
        Ok(())
    }

    /// Makes what was written last, and visible under its name.
    fn finish(self) -> Result<(), Failure> {
        tokio::task::block_in_place(|| match self {
            Self::Stdout => io::stdout().lock().flush().map_err(output::not_written),
            Self::Special(..) => Ok(()),
            Self::Replacement(path, file) => {
                file.as_file().sync_all().map_err(unwritable(&path))?;
                file.persist(&path).map_err(|error| unwritable(&path)(error.error))?;
                Ok(())
            }
        })
    }
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> Failure + Copy {
    move |error| Failure::local(format_args!("{} cannot be written", path.display()), error)
}
