//! The signals of one cluster, as Consul pushes them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use kv_consul::{Consul, ConsulError, KvEntry, Read};
use kv_core::name::Name;
use kv_registry::keys;
use kv_registry::signal::Signal;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

/// How many lines of the log at most tell of what is no signal, in each [`MINUTE`].
const LINES_A_MINUTE_MAX: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// How much is quoted of what is wrong with a signal, in characters.
const PROBLEM_CHARS_MAX: usize = 200;

/// A signal as it is in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// The signal.
    pub signal: Signal,
    /// The index that a compare-and-set needs.
    pub index: u64,
}

/// All signals of a cluster, by the id of the node that they are about.
pub type Signals = BTreeMap<Name, Signalled>;

/// Reads the signal about one node; none where there is none that is understood.
///
/// # Errors
/// Where Consul cannot be asked.
pub async fn read_one(
    consul: &Consul,
    cluster: &Name,
    id: &Name,
) -> Result<Option<Signalled>, ConsulError> {
    let key = keys::signal(cluster, id);
    let entry = consul.kv_get(&key, Read::consistent()).await?.value;
    let entry = entry.as_ref().filter(|entry| entry.key == key);
    Ok(entry.and_then(|entry| {
        // Who follows the signals says what is wrong with one that is not understood.
        let signal = Signal::parse(&entry.value).ok()?;
        Some(Signalled { signal, index: entry.modify_index })
    }))
}

/// Reads all signals of `cluster`.
///
/// # Errors
/// Where Consul cannot be asked.
pub async fn read_all(consul: &Consul, cluster: &Name) -> Result<Signals, ConsulError> {
    let prefix = keys::signals(cluster);
    let entries = consul.kv_list(&prefix, Read::consistent()).await?.value;
    Ok(sort_out(&prefix, &entries).signals)
}

/// Reports the signals of `cluster`, now and whenever they change, until this future is dropped.
///
/// # Errors
/// Where the prefix is not one that Consul takes.
pub async fn follow(
    consul: &Consul,
    cluster: &Name,
    news: watch::Sender<Signals>,
) -> Result<(), ConsulError> {
    let prefix = keys::signals(cluster);
    let mut watch = consul.watch_prefix(&prefix)?;
    let mut complaints = Complaints::default();
    loop {
        match watch.next().await {
            Ok(entries) => {
                let Sorted { signals, strange } = sort_out(&prefix, &entries.value);
                if let Some(line) = complaints.about(strange, Instant::now()) {
                    warn!("{line}");
                }
                news.send_replace(signals);
            }
            Err(error) => debug!("cannot follow {prefix}: {error}; trying on"),
        }
    }
}

/// What lies where signals lie.
struct Sorted {
    signals: Signals,
    strange: Vec<Strange>,
}

/// What lies there and is no signal.
struct Strange {
    key: String,
    index: u64,
    problem: String,
}

fn sort_out(prefix: &str, entries: &[KvEntry]) -> Sorted {
    let mut sorted = Sorted { signals: Signals::new(), strange: Vec::new() };
    for entry in entries {
        let Some(id) = entry.key.strip_prefix(prefix) else { continue };
        let signal = Signal::parse(&entry.value).map_err(|error| error.to_string());
        let named = id.parse::<Name>().map_err(|error| error.to_string());
        match named.and_then(|id| Ok((id, signal?))) {
            Ok((id, signal)) => {
                sorted.signals.insert(id, Signalled { signal, index: entry.modify_index });
            }
            Err(problem) => sorted.strange.push(Strange {
                key: entry.key.clone(),
                index: entry.modify_index,
                problem,
            }),
        }
    }
    sorted
}

/// What has been said of strange entries. Each is spoken of once, and not too often: who can write one
/// can write thousands.
#[derive(Default)]
struct Complaints {
    known: HashSet<(String, u64)>,
    /// When the present minute of lines began, and how many there were in it.
    minute: Option<(Instant, usize)>,
    unsaid: usize,
}

impl Complaints {
    /// What is to be said of `strange`, all that is strange now: a line, where some of it is new.
    fn about(&mut self, strange: Vec<Strange>, now: Instant) -> Option<String> {
        let name = |it: &Strange| (it.key.clone(), it.index);
        let is_new = |it: &&Strange| !self.known.contains(&name(it));
        let mut new = strange.iter().filter(is_new);
        let line = new.next().map(|first| {
            let others = new.count() + self.unsaid;
            let excerpt: String = first.problem.chars().take(PROBLEM_CHARS_MAX).collect();
            let line = format!("{} in Consul is passed over: {excerpt}", first.key);
            let more = format!(" ({others} more that are no signals are not named)");
            (others + 1, if others > 0 { line + &more } else { line })
        });
        self.known = strange.iter().map(name).collect();
        let (count, line) = line?;
        let lines = match &mut self.minute {
            Some((began, lines)) if now < *began + MINUTE => lines,
            minute => &mut minute.insert((now, 0)).1,
        };
        *lines += 1;
        if *lines > LINES_A_MINUTE_MAX {
            self.unsaid = count;
            return None;
        }
        self.unsaid = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &[u8], index: u64) -> KvEntry {
        KvEntry {
            key: format!("kv/default/desired/{key}"),
            value: value.to_owned(),
            modify_index: index,
            create_index: 7,
            lock_index: 0,
            session: None,
        }
    }

    fn sorted(entries: &[KvEntry]) -> Sorted {
        sort_out("kv/default/desired/", entries)
    }

    const GOOD: &[u8] = br#"{"wanted":"running","weight":1}"#;

    #[test]
    fn what_is_no_signal_is_passed_over() {
        let entries = [
            entry("node-1", GOOD, 7),
            entry("node-2", b"{}", 7),
            entry("", GOOD, 7),
            entry("a/b", GOOD, 7),
            entry("node-3", br#"{"wanted":"running","weight":0}"#, 7),
        ];
        let Sorted { signals, strange } = sorted(&entries);
        assert_eq!(signals.keys().map(Name::as_str).collect::<Vec<_>>(), ["node-1"]);
        assert_eq!(signals.values().next().unwrap().index, 7);
        assert_eq!(strange.len(), 4);
    }

    #[test]
    fn what_is_no_signal_is_spoken_of_once_and_not_too_often() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        let mut say = |entries: &[KvEntry], now| complaints.about(sorted(entries).strange, now);
        let first = [entry("node-1", GOOD, 7), entry("node-2", b"{}", 8)];
        let line = say(&first, now).unwrap();
        assert!(line.starts_with("kv/default/desired/node-2 in Consul is passed over"), "{line}");
        assert_eq!(say(&first, now), None);
        // Written again, it is another; and two at once make one line.
        let again = [entry("node-2", b"{}", 9), entry("node-3", b"{}", 10)];
        let line = say(&again, now).unwrap();
        assert!(line.contains("node-2") && line.contains("1 more"), "{line}");
        let many = |from: u64| [entry("node-2", b"{}", from), entry("node-3", b"{}", from)];
        for index in 0..LINES_A_MINUTE_MAX as u64 - 2 {
            assert!(say(&many(100 + index), now).is_some());
        }
        assert_eq!(say(&many(200), now), None);
        assert_eq!(say(&many(201), now), None);
        let line = say(&many(202), now + MINUTE).unwrap();
        assert!(line.contains("5 more"), "{line}");
    }
}
