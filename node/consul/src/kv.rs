//! The key-value part of Consul: reading, compare-and-set, deleting, locking.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Consul;
use super::error::ConsulError;
use super::http::{Request, Response};
use super::read::{Indexed, Read};

/// The largest value that Consul takes unless its operator raised the limit.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// The longest key that this client sends, far below what fits into a URL.
pub const KEY_BYTES_MAX: usize = 512;

/// One key with its value and bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry {
    /// The full key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The index of the last change; hand it to a compare-and-set.
    pub modify_index: u64,
    /// The index at which the key came to be.
    pub create_index: u64,
    /// How often the key was locked.
    pub lock_index: u64,
    /// The session that holds the lock, if one does.
    pub session: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    key: String,
    value: Option<String>,
    modify_index: u64,
    create_index: u64,
    lock_index: u64,
    session: Option<String>,
}

impl Consul {
    /// The entry at `key`, if there is one.
    ///
    /// # Errors
    ///
    /// [`ConsulError::InvalidName`] for a key that is not sent (see [`KvEntry::key`] and
    /// [`KEY_BYTES_MAX`]), and any [`ConsulError`] of an exchange over HTTP.
    pub async fn kv_get(
        &self,
        key: &str,
        read: Read,
    ) -> Result<Indexed<Option<KvEntry>>, ConsulError> {
        validate_key(key)?;
        let request = self.http.get(&kv_path(key)).read(read);
        let Indexed { index, value } = self.entries(request).await?;
        Ok(Indexed { index, value: value.into_iter().next() })
    }

    /// All entries whose keys start with `prefix`, sorted by key.
    ///
    /// # Errors
    ///
    /// As [`kv_get`](Self::kv_get).
    pub async fn kv_list(
        &self,
        prefix: &str,
        read: Read,
    ) -> Result<Indexed<Vec<KvEntry>>, ConsulError> {
        validate_key(prefix)?;
        let request = self.http.get(&kv_path(prefix)).parameter("recurse", "").read(read);
        self.entries(request).await
    }

    /// All keys that start with `prefix`, sorted, without their values.
    ///
    /// # Errors
    ///
    /// As [`kv_get`](Self::kv_get).
    pub async fn kv_keys(
        &self,
        prefix: &str,
        read: Read,
    ) -> Result<Indexed<Vec<String>>, ConsulError> {
        validate_key(prefix)?;
        let request = self.http.get(&kv_path(prefix)).parameter("keys", "").read(read);
        let answer = self.http.send(request).await?;
        if answer.is_not_found() && answer.index().is_ok_and(|index| index > 0) {
            return Ok(Indexed { index: answer.index()?, value: Vec::new() });
        }
        let answer = answer.success()?;
        Ok(Indexed { index: answer.index()?, value: answer.json()? })
    }

    async fn entries(&self, request: Request) -> Result<Indexed<Vec<KvEntry>>, ConsulError> {
        let answer = self.http.send(request).await?;
        // Consul says with 404 that there is no such key. The index tells it from a stranger's 404.
        if answer.is_not_found() && answer.index().is_ok_and(|index| index > 0) {
            return Ok(Indexed { index: answer.index()?, value: Vec::new() });
        }
        let answer = answer.success()?;
        let wires: Vec<Wire> = answer.json()?;
        let entries =
            wires.into_iter().map(|wire| entry(wire, &answer)).collect::<Result<_, _>>()?;
        Ok(Indexed { index: answer.index()?, value: entries })
    }

    /// Writes `value`, over any value that was there.
    ///
    /// # Errors
    ///
    /// As [`kv_get`](Self::kv_get), and [`ConsulError::ValueTooLarge`].
    pub async fn kv_put(&self, key: &str, value: &[u8]) -> Result<(), ConsulError> {
        let answer = self.http.send(self.put_request(key, value)?).await?.success()?;
        if answer.json()? {
            return Ok(());
        }
        Err(answer.unexpected("an unconditional write was not carried out"))
    }

    /// Writes `value`, over any value that was there, with `flags` beside it, a number that Consul keeps
    /// with the value and that means what its writer says. Where the value is there already with other flags, its
    /// modify index becomes a new one.
    ///
    /// # Errors
    ///
    /// As [`kv_put`](Self::kv_put).
    pub async fn kv_put_flagged(
        &self,
        key: &str,
        value: &[u8],
        flags: u64,
    ) -> Result<(), ConsulError> {
        let request = self.put_request(key, value)?.parameter("flags", &flags.to_string());
        let answer = self.http.send(request).await?.success()?;
        if answer.json()? {
            return Ok(());
        }
        Err(answer.unexpected("an unconditional write was not carried out"))
    }

    /// Writes `value` if the key's modify index is still `expected_index`; 0 means that the key must
    /// not exist. Returns whether it was written.
    ///
    /// # Errors
    ///
    /// As [`kv_put`](Self::kv_put). After [`ConsulError::Interrupted`] or [`ConsulError::Timeout`] it
    /// is unknown whether the value was written: read the key to find out.
    pub async fn kv_put_cas(
        &self,
        key: &str,
        value: &[u8],
        expected_index: u64,
    ) -> Result<bool, ConsulError> {
        let request = self.put_request(key, value)?.parameter("cas", &expected_index.to_string());
        self.http.send(request).await?.success()?.json()
    }

    /// Makes sure that this client may write to the key. Nothing is written: it is by a compare-and-set
    /// that names an index which no key has.
    ///
    /// # Errors
    ///
    /// [`ConsulError::PermissionDenied`], and as [`kv_get`](Self::kv_get).
    pub async fn kv_check_writable(&self, key: &str) -> Result<(), ConsulError> {
        self.kv_put_cas(key, b"", u64::MAX).await.map(|_| ())
    }

    /// Deletes the key if its modify index is still `expected_index`; 0 deletes nothing. Returns
    /// whether the key is gone; a key that was not there is gone.
    ///
    /// # Errors
    ///
    /// As [`kv_put_cas`](Self::kv_put_cas).
    pub async fn kv_delete_cas(&self, key: &str, expected_index: u64) -> Result<bool, ConsulError> {
        validate_key(key)?;
        let request = self.http.delete(&kv_path(key)).parameter("cas", &expected_index.to_string());
        self.http.send(request).await?.success()?.json()
    }

    /// Deletes the key with any value that it has. That it has none is no error.
    ///
    /// # Errors
    ///
    /// As [`kv_get`](Self::kv_get).
    pub async fn kv_delete(&self, key: &str) -> Result<(), ConsulError> {
        validate_key(key)?;
        self.http.send(self.http.delete(&kv_path(key))).await?.success()?;
        Ok(())
    }

    /// Writes `value` and locks the key for `session`, if no other session holds it and no lock
    /// delay is running. Returns whether the session holds the key now.
    ///
    /// # Errors
    ///
    /// As [`kv_put`](Self::kv_put); [`ConsulError::Status`] when the session does not exist.
    pub async fn kv_acquire(
        &self,
        key: &str,
        value: &[u8],
        session: &str,
    ) -> Result<bool, ConsulError> {
        let request = self.put_request(key, value)?.parameter("acquire", session);
        self.http.send(request).await?.success()?.json()
    }

    /// Writes `value` and unlocks the key, if `session` holds it. Returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`kv_put`](Self::kv_put).
    pub async fn kv_release(
        &self,
        key: &str,
        value: &[u8],
        session: &str,
    ) -> Result<bool, ConsulError> {
        let request = self.put_request(key, value)?.parameter("release", session);
        self.http.send(request).await?.success()?.json()
    }

    fn put_request(&self, key: &str, value: &[u8]) -> Result<Request, ConsulError> {
        validate_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(ConsulError::ValueTooLarge {
                key: key.to_owned(),
                size_bytes: value.len(),
                limit_bytes: VALUE_BYTES_MAX,
            });
        }
        Ok(self.http.put(&kv_path(key)).body(value))
    }
}

/// The path of a key. Its slashes separate segments, since newer versions of Consul refuse them in
/// escaped form.
fn kv_path(key: &str) -> Vec<&str> {
    std::iter::once("kv").chain(key.split('/')).collect()
}

/// Refuses keys that not every version of Consul takes literally.
pub(super) fn validate_key(key: &str) -> Result<(), ConsulError> {
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'/' | b'_' | b'-');
    let problem = if key.is_empty() {
        "it is empty".to_owned()
    } else if key.len() > KEY_BYTES_MAX {
        format!("it has {} bytes, at most {KEY_BYTES_MAX} are allowed", key.len())
    } else if !key.bytes().all(plain) {
        "expected only a-z, 0-9, '/', '_' and '-'".to_owned()
    } else if key.starts_with('/') || key.contains("//") {
        "a part between slashes is empty".to_owned()
    } else {
        return Ok(());
    };
    // A long key is cut, so that the message stays readable.
    let name = key.chars().take(80).collect();
    Err(ConsulError::InvalidName { role: "a Consul key", name, problem })
}

fn entry(wire: Wire, answer: &Response) -> Result<KvEntry, ConsulError> {
    let value = STANDARD.decode(wire.value.unwrap_or_default()).map_err(|error| {
        answer.unexpected(format!("the value of {:?} is not base64: {error}", wire.key))
    })?;
    Ok(KvEntry {
        key: wire.key,
        value,
        modify_index: wire.modify_index,
        create_index: wire.create_index,
        lock_index: wire.lock_index,
        session: wire.session.filter(|session| !session.is_empty()),
    })
}
