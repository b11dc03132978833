//! Of all copies of a node's data directory one is served: the one that was started last.
//!
//! A copy is refused while another one runs, and once another one has run. So is a directory that was put
//! back from a backup. An operator may have an older one served all the same, and then that one counts. A
//! directory that is no copy starts as it always did.
//!
//! | module | where the other copy is |
//! |---|---|
//! | `copies` | beside the node's own, or running |
//! | `backups` | in its place, put back from a backup |
//! | `agents` | on another machine, whose Consul agent is another one |

mod agents;
mod backups;
mod copies;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_testkit::files::copy_directory;
use kv_testkit::harness::Cluster;
use kv_testkit::harness::catalog::stored;
use serde_json::Value;

/// How long Consul and the nodes may take to notice something.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Which run of node 0 the claim in Consul has, as a number.
fn claimed(cluster: &Cluster) -> Value {
    let claim = stored(cluster).remove("nodes/node-0").expect("node-0 is claimed");
    serde_json::from_slice(&claim).expect("a claim is JSON")
}

/// The number in the text of an incarnation.
#[track_caller]
fn number(incarnation: &Value) -> u64 {
    let number = incarnation.as_str().and_then(|text| text.split_once('-'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("{incarnation}"))
}

/// Replaces the files in `to` by those in `from`.
fn put_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to).expect("it can be removed");
    copy_directory(from, to);
}

/// A root of data directories of its own, with a copy of node 0's in it.
fn copied(cluster: &Cluster, name: &str) -> PathBuf {
    let root = cluster.directory().join(name);
    copy_directory(cluster.node(0).directory(), &root.join("node-0"));
    root
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// The arguments of a node on the copy in `root`.
fn on_copy(root: &Path) -> [&str; 6] {
    ["--id", "node-0", "--port", "0", "--data-dir", text(root)]
}

#[track_caller]
fn store(cluster: &Cluster, key: &str, value: &str) {
    cluster.kvclient(&["put", key, value]).output().success();
}

#[track_caller]
fn assert_stored(cluster: &Cluster, key: &str, value: Option<&str>) {
    let output = cluster.kvclient(&["get", key]).output();
    match value {
        Some(value) => assert_eq!(output.success().stdout_text(), value),
        None => drop(output.code(1)),
    }
}
