//! The signals of one cluster, as Consul pushes them.

use std::collections::BTreeMap;

use kv_protocol::consul::{Consul, ConsulError, KvEntry, Read};
use kv_protocol::consul_keys;
use kv_protocol::name::Name;
use kv_protocol::signal::Signal;
use tokio::sync::watch;
use tracing::{debug, warn};

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
    let key = consul_keys::signal(cluster, id);
    let entry = consul.kv_get(&key, Read::consistent()).await?.value;
    Ok(entry.as_ref().and_then(understand))
}

/// Reads all signals of `cluster`.
///
/// # Errors
/// Where Consul cannot be asked.
pub async fn read_all(consul: &Consul, cluster: &Name) -> Result<Signals, ConsulError> {
    let prefix = consul_keys::signals(cluster);
    let entries = consul.kv_list(&prefix, Read::consistent()).await?.value;
    Ok(collect(&prefix, &entries))
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
    let prefix = consul_keys::signals(cluster);
    let mut watch = consul.watch_prefix(&prefix)?;
    loop {
        match watch.next().await {
            Ok(entries) => {
                news.send_replace(collect(&prefix, &entries.value));
            }
            Err(error) => debug!("cannot follow {prefix}: {error}; trying on"),
        }
    }
}

fn collect(prefix: &str, entries: &[KvEntry]) -> Signals {
    let known = entries.iter().filter_map(|entry| {
        let id = entry.key.strip_prefix(prefix)?.parse();
        match id {
            Ok(id) => Some((id, understand(entry)?)),
            Err(error) => {
                warn!("{} in Consul is passed over: {error}", entry.key);
                None
            }
        }
    });
    known.collect()
}

fn understand(entry: &KvEntry) -> Option<Signalled> {
    match Signal::parse(&entry.value) {
        Ok(signal) => Some(Signalled { signal, index: entry.modify_index }),
        Err(error) => {
            warn!("{} in Consul is no signal and is passed over: {error}", entry.key);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_signal_is_passed_over() {
        let entry = |key: &str, value: &[u8]| KvEntry {
            key: format!("kv/default/desired/{key}"),
            value: value.to_owned(),
            modify_index: 7,
            create_index: 7,
            lock_index: 0,
            session: None,
        };
        let good = br#"{"wanted":"running","weight":1}"#;
        let entries =
            [entry("node-1", good), entry("node-2", b"{}"), entry("", good), entry("a/b", good)];
        let signals = collect("kv/default/desired/", &entries);
        assert_eq!(signals.keys().map(Name::as_str).collect::<Vec<_>>(), ["node-1"]);
        assert_eq!(signals.values().next().unwrap().index, 7);
    }
}
