//! Strategies as users meet them: looked at, judged, adopted or refused, and explained.
//!
//! | module | what it shows |
//! |---|---|
//! | `judged` | `kvclient strategy inspect` and `check`, which need no cluster |
//! | `adoption` | no cluster adopts a strategy that lacks something, unless its operator accepts that |
//! | `explained` | `kvclient explain`, also of the past |
//! | `guide` | the guide to a strategy of one's own, word for word |
//! | `made` | projects to start from |

mod adoption;
mod explained;
mod guide;
mod judged;
mod made;

use std::fs;

use kv_testkit::guests;
use kv_testkit::harness::Cluster;

/// Writes a hostile guest's component to a file that `kvclient` finds under the path `./{name}.wasm`.
fn write_guest(cluster: &Cluster, name: &str) -> String {
    let file = cluster.directory().join(format!("{name}.wasm"));
    fs::write(&file, guests::component(name)).expect("a file can be written");
    format!("./{name}.wasm")
}
