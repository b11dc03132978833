//! Consul's view of a cluster, by plain HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_core::digest::Digest;
use serde_json::Value;

use super::cluster::Cluster;
use super::desired_states::HEEDED_WITHIN;
use super::http::{get_json, put};
use crate::wait::eventually;

/// How long Consul's catalog may take to follow its agent.
const FOLLOW_WITHIN: Duration = Duration::from_secs(60);

/// How one node stands in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The port alone, which is also that of `address`.
    pub port: u16,
    /// Host and port, where clients connect.
    pub address: String,
    /// The uuid that it registered.
    pub uuid: String,
    /// The host, weight and zone that it registered.
    pub described: [String; 3],
    /// The worst state of its checks.
    pub status: String,
}

/// The nodes of `cluster` that are registered, by service id.
pub fn registered(cluster: &Cluster) -> BTreeMap<String, Entry> {
    let instances = get_json(&cluster.consul(), "/v1/health/service/kv").expect("it is a list");
    let instances = instances.as_array().expect("it is a list");
    let ours = instances.iter().filter(|it| it["Service"]["Meta"]["cluster"] == cluster.name());
    ours.map(|instance| {
        let service = &instance["Service"];
        let text = |value: &Value| value.as_str().expect("it is text").to_owned();
        let checks = instance["Checks"].as_array().expect("checks are a list");
        let statuses = checks.iter().map(|check| text(&check["Status"]));
        // The names happen to be in the order of badness, backwards.
        let status = statuses.min().expect("there is a check");
        let port = service["Port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.expect("it has a port");
        let entry = Entry {
            port,
            address: format!("{}:{port}", text(&service["Address"])),
            uuid: text(&service["Meta"]["uuid"]),
            described: ["host", "weight", "zone"].map(|name| text(&service["Meta"][name])),
            status,
        };
        (text(&service["ID"]), entry)
    })
    .collect()
}

/// Waits until the nodes that are registered, and their states, are those of `expected`: pairs of a
/// node's id and its state.
///
/// # Panics
/// Where that does not come to be.
#[track_caller]
pub fn wait_for_nodes(cluster: &Cluster, expected: &[(&str, &str)]) {
    let id = |node: &str| format!("{}.{node}", cluster.name());
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(node, status)| (id(node), (*status).to_owned())).collect();
    eventually("the nodes in Consul's catalog", FOLLOW_WITHIN, || {
        let found = registered(cluster);
        let states: BTreeMap<_, _> =
            found.iter().map(|(id, entry)| (id.clone(), entry.status.clone())).collect();
        if states == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// How the node `id` of `cluster` is registered; `None` if it is not.
pub fn entry(cluster: &Cluster, id: &str) -> Option<Entry> {
    registered(cluster).remove(&format!("{}.{id}", cluster.name()))
}

/// What Consul keeps for `cluster`, by key.
pub fn stored(cluster: &Cluster) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("kv/{}/", cluster.name());
    let entries = get_json(&cluster.consul(), &format!("/v1/kv/{prefix}?recurse"));
    let entries = entries.unwrap_or(Value::Array(Vec::new()));
    let entries = entries.as_array().expect("entries are a list");
    let ours = entries.iter().filter_map(|entry| {
        let key = entry["Key"].as_str()?.strip_prefix(&prefix)?.to_owned();
        let value = entry["Value"].as_str().unwrap_or_default();
        Some((key, STANDARD.decode(value).expect("values are base64")))
    });
    ours.collect()
}

/// Where a layout document names lists of members.
const MEMBERS: [&str; 2] = ["/placement/members", "/rebalance/to/members"];

/// The layout document of `cluster`, with the lists of members that it names in their places; `None` if Consul
/// has no layout.
pub fn layout(cluster: &Cluster) -> Option<Value> {
    let stored = stored(cluster);
    let mut layout: Value =
        serde_json::from_slice(stored.get("layout")?).expect("the layout is JSON");
    for pointer in MEMBERS {
        let Some(members) = layout.pointer_mut(pointer) else { continue };
        let Some(digest) = members.as_str() else { continue };
        let list = stored.get(&format!("members/{digest}"));
        *members = list.map_or(Value::Null, |it| serde_json::from_slice(it).expect("it is JSON"));
    }
    Some(layout)
}

/// Publishes a layout document that has lists of members in it, as [`layout`] gives it, by plain writes to Consul.
pub fn publish_layout(cluster: &Cluster, mut layout: Value) {
    let write = |key: &str, value: &[u8]| {
        put(&cluster.consul(), &format!("/v1/kv/kv/{}/{key}", cluster.name()), value);
    };
    for pointer in MEMBERS {
        let Some(members) = layout.pointer_mut(pointer) else { continue };
        let list = members.to_string();
        let digest = Digest::of(list.as_bytes()).to_string();
        write(&format!("members/{digest}"), list.as_bytes());
        *members = digest.into();
    }
    write("layout", layout.to_string().as_bytes());
}

impl Cluster {
    /// Waits until the node `id` is registered and passing.
    ///
    /// # Panics
    /// Where it does not come.
    #[track_caller]
    pub fn wait_until_registered(&self, id: &str) -> Entry {
        eventually(&format!("{id} in Consul's catalog"), HEEDED_WITHIN, || match entry(self, id) {
            Some(entry) if entry.status == "passing" => Ok(entry),
            entry => Err(format!("{entry:?}")),
        })
    }

    /// Waits until the node `id` is not registered and its process has ended.
    ///
    /// # Panics
    /// Where it stays.
    #[track_caller]
    pub fn wait_until_gone(&self, id: &str) {
        eventually(&format!("the end of {id}"), HEEDED_WITHIN, || {
            match (entry(self, id), self.launched(id)) {
                (None, None) => Ok(()),
                left => Err(format!("{left:?}")),
            }
        });
    }
}
