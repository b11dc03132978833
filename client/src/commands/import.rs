//! `kvclient import`: stores lines of JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use futures::stream::{FuturesUnordered, StreamExt};
use kv_protocol::partition::key_hash;
use kvclient::{Client, ClientError, Condition, Operation};
use tokio::sync::mpsc;

use super::Session;
use crate::cli::Import;
use crate::exit::Failure;
use crate::lines::{self, BUFFER_BYTES, BadLine, Chunk, Record};
use crate::progress::Progress;

/// How many chunks are being stored at the same time. An operation's time begins when its chunk's
/// does, so a slow cluster must get through all of them in that time.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;

pub(super) async fn run(session: &Session, import: Import) -> Result<(), Failure> {
    // Opened first, so that a wrong name is found before anything happens.
    let (chunks, bytes_total) = open(import.file.as_deref())?;
    let client = session.connect().await?;
    let progress = Progress::begin(bytes_total);
    let mut importer = Importer { client, progress, keys_in_flight: HashSet::new(), worst: None };
    let interrupted = importer.store_all(chunks).await;
    let Importer { progress, worst, .. } = importer;
    let stored = progress.records();
    let summary = progress.end();
    if let Some((line, place, cause)) = worst {
        let place = format!("line {line}{place}: ");
        return Err(Failure::Import { place, cause: Box::new(cause), stored });
    }
    if interrupted {
        let cause = Box::new(Failure::Interrupted);
        return Err(Failure::Import { place: String::new(), cause, stored });
    }
    summary.tell("stored", session.format, false)
}

type Chunks = mpsc::Receiver<Result<Chunk, BadLine>>;

/// Starts to read the file, and says how large it is where that is known.
fn open(file: Option<&Path>) -> Result<(Chunks, Option<u64>), Failure> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        let stdin = BufReader::with_capacity(BUFFER_BYTES, io::stdin());
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
    /// Stores chunks until they end, one fails, or somebody presses Ctrl-C; then finishes what is
    /// under way. Returns whether it was interrupted.
    async fn store_all(&mut self, mut chunks: Chunks) -> bool {
        let mut in_flight = FuturesUnordered::new();
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut interrupted = false;
        loop {
            let has_room = in_flight.len() < CHUNKS_IN_FLIGHT_MAX;
            tokio::select! {
                _ = &mut interrupt => {
                    interrupted = true;
                    break;
                }
                Some(stored) = in_flight.next() => self.take(stored),
                chunk = chunks.recv(), if has_room => match chunk {
                    Some(Ok(chunk)) => {
                        let hashes: Vec<_> = hashes(&chunk.records);
                        // A key that comes twice must end up with its later value, so the earlier
                        // one is waited for.
                        if hashes.iter().any(|hash| self.keys_in_flight.contains(hash)) {
                            while let Some(stored) = in_flight.next().await {
                                self.take(stored);
                            }
                        }
                        self.keys_in_flight.extend(&hashes);
                        in_flight.push(store(self.client.clone(), chunk, hashes));
                    }
                    Some(Err(BadLine { line, problem })) => {
                        self.fail(line, String::new(), Failure::Usage(problem));
                    }
                    None => break,
                },
            }
            if self.worst.is_some() {
                break;
            }
        }
        while let Some(stored) = in_flight.next().await {
            self.take(stored);
        }
        interrupted
    }

    fn take(&mut self, stored: Stored) {
        for hash in &stored.hashes {
            self.keys_in_flight.remove(hash);
        }
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

async fn store(client: Client, chunk: Chunk, hashes: Vec<u64>) -> Stored {
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
