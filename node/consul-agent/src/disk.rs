//! The agent's directory: one file with the whole state, replaced as a whole, and a lock.
//!
//! The file is a line of text that names the format, the checksum and the length of what follows,
//! and then a JSON document. Only keys are kept: services register again and sessions end with the
//! agent, as those of `consul agent -dev` do.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_system::private;
use serde::{Deserialize, Serialize};

use super::error::AgentError;
use super::state::{Behavior, Entry, KV_BYTES_MAX, Restored, State};

const STATE_FILE: &str = "state.json";
const STATE_FILE_NEW: &str = "state.json.new";
const LOCK_FILE: &str = "lock";

/// The first word of the state file: what it is, and the version of its format.
const MAGIC: &str = "kvnode-dev-consul/1";

/// The largest file that is read: base64 and JSON take less than three times the size of the keys
/// and values.
const STATE_FILE_BYTES_MAX: u64 = 3 * KV_BYTES_MAX as u64;

/// No agent lives long enough to give out an index like this one.
const INDEX_MAX: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The identity of the agent that this directory belongs to.
    node_id: String,
    /// No index beyond this one was given out.
    reserved_index: u64,
    entries: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    key: String,
    /// In base64.
    value: String,
    flags: u64,
    create_index: u64,
    modify_index: u64,
    lock_index: u64,
    /// If a session held the key, what was to become of it at the session's end.
    held: Option<Behavior>,
}

/// The directory, held for this process alone.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    node_id: String,
    /// Its lock ends with the file's closing, also when the process is killed.
    _lock: File,
}

impl Disk {
    /// Takes the directory, which is made if it is missing, and reads the state of the last run.
    pub(super) fn open(directory: &Path) -> Result<(Self, State), AgentError> {
        private::make(directory).map_err(io_error("create", directory))?;
        let lock = lock(directory)?;
        let path = directory.join(STATE_FILE);
        let (node_id, state) = match read(&path)? {
            Some(content) => decode(&content)
                .map_err(|problem| AgentError::Damaged { path: path.clone(), problem })?,
            None => (uuid::Uuid::new_v4().to_string(), State::new(0, Vec::new())),
        };
        let disk = Self { directory: directory.to_owned(), node_id, _lock: lock };
        // The start itself gives out indexes, so the new reserve must be kept before they are seen.
        disk.write(&state).map_err(io_error("write", &path))?;
        Ok((disk, state))
    }

    /// The identity that the directory keeps across restarts.
    pub(super) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Replaces the state. When this returns, the new state survives a loss of power; when it fails,
    /// the old one does, or the new one, but never a mixture.
    pub(super) fn write(&self, state: &State) -> io::Result<()> {
        let content = encode(&self.node_id, state);
        let new = self.directory.join(STATE_FILE_NEW);
        let mut file = File::create(&new)?;
        file.write_all(&content)?;
        file.sync_all()?;
        std::fs::rename(&new, self.directory.join(STATE_FILE))?;
        // The new name is in the directory, which is a file of its own.
        File::open(&self.directory)?.sync_all()
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AgentError {
    let path = path.to_owned();
    move |source| AgentError::Io { action, path, source }
}

fn lock(directory: &Path) -> Result<File, AgentError> {
    let path = directory.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AgentError::Held { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, AgentError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let mut content = Vec::new();
    // One byte more than allowed shows that there is more, without reading all of it.
    file.take(STATE_FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(io_error("read", path))?;
    Ok(Some(content))
}

fn encode(node_id: &str, state: &State) -> Vec<u8> {
    let record = |entry: &Arc<Entry>| Record {
        key: entry.key.clone(),
        value: STANDARD.encode(&entry.value),
        flags: entry.flags,
        create_index: entry.create_index,
        modify_index: entry.modify_index,
        lock_index: entry.lock_index,
        held: entry.session.as_ref().map(|session| state.sessions.behavior(session)),
    };
    let document = Document {
        node_id: node_id.to_owned(),
        reserved_index: state.reserved_index(),
        entries: state.kv.entries().map(record).collect(),
    };
    let body = serde_json::to_vec(&document).expect("plain structs with string keys serialize");
    let mut content =
        format!("{MAGIC} {:08x} {}\n", crc32fast::hash(&body), body.len()).into_bytes();
    content.extend(body);
    content
}

/// The identity and the state in a file, or how it is damaged.
fn decode(content: &[u8]) -> Result<(String, State), String> {
    if content.len() as u64 > STATE_FILE_BYTES_MAX {
        return Err(format!("it is larger than {STATE_FILE_BYTES_MAX} bytes"));
    }
    let line_end = content.iter().position(|b| *b == b'\n').ok_or("its first line has no end")?;
    let (line, body) = (&content[..line_end], &content[line_end + 1..]);
    let line = std::str::from_utf8(line).map_err(|_| "its first line is not text")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [MAGIC, checksum, length] = words[..] else {
        return Err(format!(
            "its first line should be \"{MAGIC} CHECKSUM LENGTH\" and begins {:?}",
            line.chars().take(60).collect::<String>()
        ));
    };
    if length != body.len().to_string() {
        return Err(format!(
            "it should have {length} bytes after its first line and has {}",
            body.len()
        ));
    }
    let found = format!("{:08x}", crc32fast::hash(body));
    if checksum != found {
        return Err(format!("its checksum should be {checksum} and is {found}"));
    }
    let Document { node_id, reserved_index, entries } =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if reserved_index > INDEX_MAX {
        return Err(format!("its index {reserved_index} is larger than {INDEX_MAX}"));
    }
    let entries = entries.into_iter().map(restored).collect::<Result<_, _>>()?;
    Ok((node_id, State::new(reserved_index, entries)))
}

fn restored(record: Record) -> Result<Restored, String> {
    let Record { key, value, flags, create_index, modify_index, lock_index, held } = record;
    let value = STANDARD
        .decode(value)
        .map_err(|error| format!("the value of {key:?} is not base64: {error}"))?;
    let entry = Entry {
        key,
        value: value.into(),
        flags,
        create_index,
        modify_index,
        lock_index,
        session: None,
    };
    Ok(Restored { entry, held })
}

#[cfg(test)]
mod tests;
