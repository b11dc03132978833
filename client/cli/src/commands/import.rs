//! `kvclient import`: stores lines of JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use futures::stream::{FuturesUnordered, StreamExt};
use kv_core::partition::key_hash;
use kvclient::{Client, ClientError, Condition, Operation};
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::failure::Failure;
use crate::input::stdin;
use crate::lines::{self, BUFFER_BYTES, BadLine, Chunk, Record};
use crate::ndjson::EXPECTED;
use crate::progress::Progress;
use crate::session::Session;
use crate::{interrupt, output};

/// Store many values from lines of JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Every line is {\"key\":\"...\",\"value\":\"...\"}, or {\"key\":\"...\",\"value_base64\":\"...\"} for a value that is
not text; the \"op\":\"PUT\" of a request is allowed. The first bad line ends the import, and so does Ctrl-C;
what is under way is finished, and the number of stored values is reported. Running it again is safe. A
second Ctrl-C, and nodes that do not answer within a second, have it end at once.

Examples:
  kvclient import words.ndjson
  kvclient export | kvclient --cluster copy import")]
pub(crate) struct Import {
    /// The file; standard input where it is - or missing
    file: Option<PathBuf>,
}

/// How many chunks are being stored at the same time. An operation's time begins when its chunk's
/// does, so a slow cluster must get through all of them in that time.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;

impl Import {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let file = self.file.filter(|path| path != Path::new("-"));
        if file.is_none() && io::stdin().is_terminal() {
            output::note(&format!(
                "reading records from the terminal, one {EXPECTED} a line; Ctrl-D ends"
            ));
        }
        store(session, file).await
    }
}

/// Stores the records of a file, or of standard input.
pub(super) async fn store(session: &Session, file: Option<PathBuf>) -> Result<(), Failure> {
    // Opened first, so that a wrong name is found before anything happens. To open a named pipe may block.
    let opening = blocking(move || open(file.as_deref()));
    let (chunks, bytes_total) = unless_asked(opening).await?;
    let client = unless_asked(session.connect()).await?;
    let progress = Progress::begin(bytes_total);
    let mut importer = Importer::new(client, progress);
    let interrupted = importer.store_all(chunks).await;
    let Importer { progress, worst, records_in_flight: unknown, .. } = importer;
    let stored = progress.records();
    let summary = progress.end();
    let (place, cause) = match worst {
        Some((line, place, cause)) => (format!("line {line}{place}: "), cause),
        None if interrupted => (String::new(), Failure::Interrupted),
        None => return summary.tell("stored", session.format, false),
    };
    Err(Failure::Import { place, cause: Box::new(cause), stored, unknown })
}

/// Does what can be given up as soon as the process is asked to end.
async fn unless_asked<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        () = interrupt::asked() => Err(Failure::Import {
            place: String::new(),
            cause: Box::new(Failure::Interrupted),
            stored: 0,
            unknown: 0,
        }),
    }
}

type Chunks = mpsc::Receiver<Result<Chunk, BadLine>>;

/// Starts to read the file, and says how large it is where that is known.
fn open(file: Option<&Path>) -> Result<(Chunks, Option<u64>), Failure> {
    let Some(path) = file else {
        let stdin = BufReader::with_capacity(BUFFER_BYTES, stdin()?);
        return Ok((lines::read(stdin)?, None));
    };
    let unreadable = |error| Failure::local(format!("{} cannot be read", path.display()), error);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let bytes_total = metadata.is_file().then_some(metadata.len());
    Ok((lines::read(BufReader::with_capacity(BUFFER_BYTES, file))?, bytes_total))
}

struct Importer {
    client: Client,
    progress: Progress,
    /// The hashes of the keys that are being stored.
    keys_in_flight: HashSet<u64>,
    /// How many records are being stored.
    records_in_flight: u64,
    /// The failure of the earliest line: line, key in words, cause.
    worst: Option<(u64, String, Failure)>,
}

/// What became of a chunk.
struct Stored {
    hashes: Vec<u64>,
    bytes: u64,
    stored: u64,
    failed: Option<(u64, String, ClientError)>,
}

impl Importer {
    fn new(client: Client, progress: Progress) -> Self {
        let (keys_in_flight, records_in_flight, worst) = Default::default();
        Self { client, progress, keys_in_flight, records_in_flight, worst }
    }

    /// Stores chunks until they end, one fails, or the process is asked to end; then finishes the chunks
    /// under way, or gives them up where that takes long. Returns whether it was asked to end.
    async fn store_all(&mut self, mut chunks: Chunks) -> bool {
        let mut in_flight = FuturesUnordered::new();
        let mut asked = std::pin::pin!(interrupt::asked());
        let mut interrupted = false;
        // A chunk with a key that is being stored: its value must be the one that stays, so it has to wait.
        let mut waiting: Option<(Chunk, Vec<u64>)> = None;
        while self.worst.is_none() {
            if let Some((chunk, hashes)) = waiting.take_if(|(_, hashes)| self.may_begin(hashes)) {
                self.keys_in_flight.extend(&hashes);
                self.records_in_flight += chunk.records.len() as u64;
                in_flight.push(store_chunk(self.client.clone(), chunk, hashes));
            }
            let has_room = waiting.is_none() && in_flight.len() < CHUNKS_IN_FLIGHT_MAX;
            tokio::select! {
                () = &mut asked => {
                    interrupted = true;
                    break;
                }
                Some(stored) = in_flight.next() => self.take(stored),
                chunk = chunks.recv(), if has_room => match chunk {
                    Some(Ok(chunk)) => {
                        let hashes = hashes(&chunk.records);
                        waiting = Some((chunk, hashes));
                    }
                    Some(Err(BadLine { line, problem })) => {
                        self.fail(line, String::new(), Failure::Usage(problem));
                    }
                    None => break,
                },
            }
        }
        let mut give_up = std::pin::pin!(interrupt::pressed());
        loop {
            tokio::select! {
                biased;
                stored = in_flight.next() => match stored {
                    Some(stored) => self.take(stored),
                    None => return interrupted,
                },
                () = &mut give_up => return true,
            }
        }
    }

    fn may_begin(&self, hashes: &[u64]) -> bool {
        !hashes.iter().any(|hash| self.keys_in_flight.contains(hash))
    }

    fn take(&mut self, stored: Stored) {
        for hash in &stored.hashes {
            self.keys_in_flight.remove(hash);
        }
        self.records_in_flight -= stored.hashes.len() as u64;
        self.progress.add(stored.stored, stored.bytes);
        if let Some((line, key, error)) = stored.failed {
            self.fail(line, format!(" (key {key:?})"), error.into());
        }
    }

    fn fail(&mut self, line: u64, place: String, cause: Failure) {
        if self.worst.as_ref().is_none_or(|(earliest, ..)| line < *earliest) {
            self.worst = Some((line, place, cause));
        }
    }
}

fn hashes(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| key_hash(&record.key)).collect()
}

async fn store_chunk(client: Client, chunk: Chunk, hashes: Vec<u64>) -> Stored {
    let Chunk { records, bytes } = chunk;
    let lines: Vec<_> = records.iter().map(|record| record.line).collect();
    let keys: Vec<_> = records.iter().map(|record| record.key.clone()).collect();
    let put = |Record { key, value, .. }| Operation::Put {
        key: Cow::Owned(key),
        value: Cow::Owned(value),
        condition: Condition::None,
    };
    let outcomes = client.batch(records.into_iter().map(put).collect()).await;
    let (mut stored, mut failed) = (0, None);
    for ((outcome, line), key) in outcomes.into_iter().zip(lines).zip(keys) {
        match outcome {
            Ok(_) => stored += 1,
            Err(error) if failed.is_none() => failed = Some((line, key, error)),
            Err(_) => {}
        }
    }
    Stored { hashes, bytes, stored, failed }
}
