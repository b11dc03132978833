//! The clients that write and read, each with a connection of its own, many operations at once.

use std::collections::HashMap;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::ledger::{Fault, Found, Key, Write, value};
use super::totals::Totals;

/// How many operations of a client are under way.
const DEPTH: usize = 16;
const KEYS_OF_CLIENT: usize = 24;
const VALUE_BYTES_MAX: usize = 400;
/// Some values need more than one page.
const LARGE_VALUE_BYTES_MAX: usize = 40_000;

/// A client, over all lives of its node.
pub(super) struct Client {
    keys: Vec<Key>,
    /// Operations under way, by the ids of their requests.
    pending: HashMap<u64, Pending>,
}

/// What a client waits for.
enum Pending {
    /// A write of a key that must be carried out.
    Write { key: usize, number: u64 },
    /// A conditional write whose condition does not hold.
    Futile { key: usize },
    /// A read, and the number of the write that was certain when it was asked for.
    Read { key: usize, floor: u64 },
}

/// What all clients of a lane share.
pub(super) struct Shared {
    pub(super) random: StdRng,
    /// The number of the last write or read.
    pub(super) number: u64,
    pub(super) totals: Totals,
    pub(super) faults: Vec<Fault>,
    /// The highest sequence number of a version that was seen.
    pub(super) sequence: u64,
    /// The same when the node was last killed: what it writes afterwards is above.
    pub(super) horizon: u64,
}

impl Client {
    pub(super) fn new(number: u64) -> Self {
        let key = |it| Key::new(format!("client-{number}/{it}"));
        Self { keys: (0..KEYS_OF_CLIENT).map(key).collect(), pending: HashMap::new() }
    }

    /// Asks for operations until enough are under way.
    pub(super) fn ask(&mut self, socket: &zmq::Socket, shared: &mut Shared) {
        while self.pending.len() < DEPTH {
            let request = self.draw(shared);
            // The socket takes messages as long as there is memory.
            let sent = socket.send(request.to_string().as_bytes(), zmq::DONTWAIT);
            sent.expect("the socket takes messages");
        }
    }

    fn draw(&mut self, shared: &mut Shared) -> Value {
        shared.number += 1;
        let number = shared.number;
        let at = shared.random.random_range(0..self.keys.len());
        let key = &mut self.keys[at];
        let mut request = json!({"op": "PUT", "key": key.name, "id": number});
        let kind = shared.random.random_range(0..20);
        if kind < 3 {
            request["op"] = "GET_ONE".into();
            request["versions"] = true.into();
            let floor = key.floor.number;
            self.pending.insert(number, Pending::Read { key: at, floor });
            return request;
        }
        let is_large = shared.random.random_ratio(1, 60);
        let bytes_max = if is_large { LARGE_VALUE_BYTES_MAX } else { VALUE_BYTES_MAX };
        let new = value(number, shared.random.random_range(0..bytes_max));
        // A condition is put where it is certain whether it holds.
        if kind < 4 && key.later.is_empty() && key.floor.value.is_some() {
            request["value"] = new.into();
            request["if_absent"] = true.into();
            self.pending.insert(number, Pending::Futile { key: at });
            return request;
        }
        if kind < 8 && key.is_certain() {
            match &key.version {
                Some(version) => request["if_version"] = version.clone().into(),
                None => request["if_absent"] = true.into(),
            }
        }
        let is_removal = kind >= 17;
        let value = if is_removal {
            request["op"] = "DELETE".into();
            None
        } else {
            request["value"] = new.clone().into();
            Some(new)
        };
        key.ask(Write { number, value });
        self.pending.insert(number, Pending::Write { key: at, number });
        request
    }

    /// Takes the replies in that are there. Returns how many.
    pub(super) fn hear(&mut self, socket: &zmq::Socket, shared: &mut Shared) -> usize {
        let mut heard = 0;
        while let Ok(reply) = socket.recv_bytes(zmq::DONTWAIT) {
            heard += 1;
            let told: Value = serde_json::from_slice(&reply).unwrap_or_default();
            let pending = told["id"].as_u64().and_then(|id| self.pending.remove(&id));
            let judged = match pending {
                Some(pending) => self.judge(pending, &told, shared),
                None => Err(Fault::Wrong(format!("an answer that nobody waits for: {told}"))),
            };
            shared.faults.extend(judged.err());
        }
        heard
    }

    fn judge(&mut self, pending: Pending, told: &Value, shared: &mut Shared) -> Result<(), Fault> {
        let code = told["error"]["code"].as_str();
        let wrong = |key: &Key, what: &str| Fault::Wrong(format!("{}: {what}: {told}", key.name));
        match (pending, code) {
            (Pending::Write { key, number }, None) if told["ok"] == true => {
                let key = &mut self.keys[key];
                let version = told["version"].as_str().map(str::to_owned);
                let sequence = version.as_deref().map(sequence_of);
                key.acknowledge(number, version);
                shared.totals.acknowledged += 1;
                match sequence {
                    Some(sequence) if sequence <= shared.horizon => {
                        Err(wrong(key, "a version from before the kill"))
                    }
                    sequence => {
                        shared.sequence = shared.sequence.max(sequence.unwrap_or_default());
                        Ok(())
                    }
                }
            }
            (Pending::Write { key, number }, Some("conflict")) => {
                self.keys[key].forget(number);
                Err(wrong(&self.keys[key], "its condition holds"))
            }
            (Pending::Futile { .. }, Some("conflict")) => {
                shared.totals.refused += 1;
                Ok(())
            }
            (Pending::Read { key, floor }, None) => {
                shared.totals.reads += 1;
                self.keys[key].read(floor, &found(told))
            }
            (
                Pending::Write { key, .. } | Pending::Futile { key } | Pending::Read { key, .. },
                _,
            ) => Err(wrong(&self.keys[key], "an answer that must not be")),
        }
    }

    /// The request for all keys, with which to look at them after a start.
    pub(super) fn look(&self) -> Value {
        let get = |key: &Key| json!({"op": "GET_ONE", "key": key.name});
        let ops: Vec<Value> = self.keys.iter().map(get).collect();
        json!({"op": "BATCH", "versions": true, "ops": ops})
    }

    /// Judges what the look at all keys after a start has found. Returns how many there are, and the
    /// bytes of them and their values.
    pub(super) fn recover(&mut self, told: &Value, shared: &mut Shared) -> (u64, u64) {
        let results = told["results"].as_array().map(Vec::as_slice).unwrap_or_default();
        if results.len() != self.keys.len() || results.iter().any(|it| !it["error"].is_null()) {
            shared.faults.push(Fault::Wrong(format!("not all keys can be read: {told}")));
            return (0, 0);
        }
        let (mut keys, mut bytes) = (0, 0);
        for (key, result) in self.keys.iter_mut().zip(results) {
            let found = found(result);
            if let Some((value, version)) = &found {
                keys += 1;
                bytes += (key.name.len() + value.len()) as u64;
                shared.sequence = shared.sequence.max(sequence_of(version));
            }
            shared.totals.looked_at += 1;
            match key.recover(&found) {
                Ok(was_unknown) => shared.totals.unknown_found += u64::from(was_unknown),
                Err(fault) => shared.faults.push(fault),
            }
        }
        (keys, bytes)
    }

    /// Gives up the operations under way, since the node has died. Returns how many writes have an unknown
    /// outcome.
    pub(super) fn give_up(&mut self) -> u64 {
        self.pending.clear();
        self.keys.iter().map(|key| key.later.len() as u64).sum()
    }
}

/// The sequence number of a version as it is written.
fn sequence_of(version: &str) -> u64 {
    let sequence = version.split_once('-').and_then(|(_, sequence)| sequence.parse().ok());
    sequence.unwrap_or_else(|| panic!("{version:?} is no version"))
}

fn found(told: &Value) -> Found {
    let value = told["value"].as_str()?.to_owned();
    Some((value, told["version"].as_str().unwrap_or_default().to_owned()))
}
