//! The token that requests carry. Where it comes from a file, it is read again when the file changes, so
//! that tokens can be replaced under programs that run.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;

use super::config::ConsulConfig;
use super::error::ConsulError;

/// How often is looked whether the file has changed, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the file is read where Consul refuses the token, at most.
const REFUSED_INTERVAL: Duration = Duration::from_millis(100);

/// The longest token file that is read again, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The token, and the file that it is kept in.
pub(super) struct Token {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    value: Option<HeaderValue>,
    /// How often the token has become another one.
    changes: u64,
    /// The file as it was when it was read last.
    seen: Option<Stamp>,
    looked: Instant,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Token {
    /// The token of `config`, which has been read already.
    pub(super) fn new(config: &ConsulConfig) -> Result<Self, ConsulError> {
        let value = config.token.as_deref().map(header).transpose()?;
        let file = config.token_file.clone();
        // A pipe gives its token once, and may be waited for in vain a second time.
        let file = file.filter(|file| std::fs::metadata(file).is_ok_and(|it| it.is_file()));
        // What it was when it was read is not known, so it is read again once.
        let state = State { value, changes: 0, seen: None, looked: Instant::now() };
        Ok(Self { file, state: Mutex::new(state) })
    }

    /// The token to send.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        let mut state = self.state();
        if let Some(file) = &self.file
            && state.looked.elapsed() >= LOOK_INTERVAL
        {
            state.look(file);
        }
        state.value.clone()
    }

    /// Whether there is another token than `used`, which Consul has refused.
    pub(super) fn is_replaced(&self, used: Option<&HeaderValue>) -> bool {
        let mut state = self.state();
        if let Some(file) = &self.file
            && (state.value.as_ref() == used && state.looked.elapsed() >= REFUSED_INTERVAL)
        {
            state.look(file);
        }
        state.value.as_ref() != used
    }

    /// How often the token has become another one.
    pub(super) fn changes(&self) -> u64 {
        self.state().changes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads the file, if it has changed. A file that is just being replaced may be gone, empty, or half
    /// written: as long as it holds no token, the one before is kept.
    fn look(&mut self, file: &Path) {
        self.looked = Instant::now();
        let stamp = match Stamp::of(file) {
            Ok(stamp) if self.seen != Some(stamp) => stamp,
            Ok(_) => return,
            Err(problem) => {
                tracing::debug!("the token file {} stays unread: {problem}", file.display());
                return;
            }
        };
        match read(file) {
            Ok(value) => {
                self.seen = Some(stamp);
                if self.value.as_ref() != Some(&value) {
                    tracing::info!("Consul's token was replaced in {}", file.display());
                    self.value = Some(value);
                    self.changes += 1;
                }
            }
            Err(problem) => {
                if self.seen.replace(stamp) != Some(stamp) {
                    tracing::warn!(
                        "the token file {} has changed and is not usable ({problem}): the token before is \
                         used on",
                        file.display()
                    );
                }
            }
        }
    }
}

impl Stamp {
    fn of(file: &Path) -> Result<Self, String> {
        let found = std::fs::metadata(file).map_err(|error| error.to_string())?;
        if !found.is_file() {
            return Err("it is no regular file any more".to_owned());
        }
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

fn read(file: &Path) -> Result<HeaderValue, String> {
    let opened = std::fs::File::open(file).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| error.to_string())?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        token => header(token).map_err(|error| error.to_string()),
    }
}

fn header(token: &str) -> Result<HeaderValue, ConsulError> {
    let mut value = HeaderValue::from_str(token).map_err(|_| {
        ConsulError::config("Consul's token", "it contains characters that HTTP forbids")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(file: &Path) -> Token {
        let path = file.to_str().unwrap().to_owned();
        let variable = |name: &str| (name == "CONSUL_HTTP_TOKEN_FILE").then(|| path.clone());
        Token::new(&ConsulConfig::resolve_with(None, variable).unwrap()).unwrap()
    }

    /// The token that is sent once it was time to look at the file.
    fn later(token: &Token) -> Option<String> {
        let long_ago = Instant::now().checked_sub(2 * LOOK_INTERVAL).unwrap();
        token.state().looked = long_ago;
        token.current().map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_token_is_read_again_when_its_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "one\n").unwrap();
        let token = token(&file);
        assert_eq!((later(&token).as_deref(), token.changes()), (Some("one"), 0));
        std::fs::write(&file, "second\n").unwrap();
        assert_eq!((later(&token).as_deref(), token.changes()), (Some("second"), 1));
        // Replaced by another file, as programs do that let no half-written one be seen.
        let next = directory.path().join("next");
        std::fs::write(&next, "third").unwrap();
        std::fs::rename(&next, &file).unwrap();
        assert_eq!((later(&token).as_deref(), token.changes()), (Some("third"), 2));
        // A file without a usable token changes nothing, however often the client looks.
        let too_long = "x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1);
        for useless in ["", " \n", "se\ncret", &too_long] {
            std::fs::write(&file, useless).unwrap();
            assert_eq!((later(&token).as_deref(), token.changes()), (Some("third"), 2));
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(later(&token).as_deref(), Some("third"));
        std::fs::write(&file, "fourth").unwrap();
        assert_eq!((later(&token).as_deref(), token.changes()), (Some("fourth"), 3));
    }

    #[test]
    fn a_refused_token_is_looked_for_at_once_and_not_too_often() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "one").unwrap();
        let token = token(&file);
        let used = token.current();
        std::fs::write(&file, "two").unwrap();
        token.state().looked = Instant::now();
        assert!(!token.is_replaced(used.as_ref()), "it was looked a moment ago");
        token.state().looked = Instant::now().checked_sub(REFUSED_INTERVAL).unwrap();
        assert!(token.is_replaced(used.as_ref()));
        let used = token.current();
        token.state().looked = Instant::now().checked_sub(REFUSED_INTERVAL).unwrap();
        assert!(!token.is_replaced(used.as_ref()), "there is no newer one");
    }
}
