//! Recorded vectors: what a strategy answers for a corpus of questions, kept in `tests/vectors/`.
//!
//! The same file is checked natively by the strategy's tests and against its component by the host's,
//! so that a table can change neither by accident nor on one side only.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::equal_nodes;
use crate::{Assign, Info, Node, hash};

/// The environment variable that, set to `write`, has the vectors recorded anew.
pub const WRITE_VARIABLE: &str = "KV_VECTORS";

/// How many of a table's entries a vector shows, for a reader; the digest covers them all.
const FIRST_ENTRIES: usize = 16;

/// A question to a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The reason why it is in the corpus, in kebab-case.
    pub name: String,
    /// The strategy's configuration text.
    pub config: String,
    /// The number of partitions.
    pub partitions: u32,
    /// The number of owners of each.
    pub replicas: u32,
    /// The nodes, in the order in which the strategy gets them.
    pub nodes: Vec<Node>,
}

/// A question and its recorded answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    #[serde(flatten)]
    case: Case,
    /// The SHA-256 of the table's entries, each as four bytes, the lowest first, in hexadecimal.
    sha256: String,
    /// The table's first entries.
    first: Vec<u32>,
}

/// The file: a strategy's vectors.
#[derive(Serialize, Deserialize)]
struct Document {
    strategy: String,
    vectors: Vec<Vector>,
}

/// Checks that the recorded vectors are what `assign` answers for `cases`, or records them where
/// [`WRITE_VARIABLE`] says so.
pub fn check(assign: Assign, info: Info, cases: Vec<Case>) {
    let path = path(info.name);
    let vectors: Vec<Vector> = cases.into_iter().map(|case| answer(assign, case)).collect();
    if env::var(WRITE_VARIABLE).is_ok_and(|value| value == "write") {
        let text = render(info.name, &vectors);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let advice = format!(
        "if the strategy's tables are meant to change, record them anew with: \
         {WRITE_VARIABLE}=write cargo test -p {}",
        info.name
    );
    let recorded = read(&path).unwrap_or_else(|why| panic!("{}: {why}; {advice}", path.display()));
    for (recorded, answered) in recorded.vectors.iter().zip(&vectors) {
        let name = &answered.case.name;
        assert_eq!(recorded, answered, "the vector {name} in {}; {advice}", path.display());
    }
    assert_eq!(recorded.strategy, info.name, "the strategy of {}", path.display());
    assert_eq!(recorded.vectors.len(), vectors.len(), "vectors in {}; {advice}", path.display());
}

/// The questions that every strategy is asked.
#[must_use]
pub fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in [1, 2, 3, 5, 10, 16, 33, 100] {
        cases.push(case(&format!("equal-{count}"), 4096, 1, equal_nodes(count)));
    }
    for (count, replicas) in [(2, 2), (3, 3), (10, 2), (10, 3), (100, 3)] {
        let name = format!("equal-{count}-replicas-{replicas}");
        cases.push(case(&name, 4096, replicas, equal_nodes(count)));
    }
    for partitions in [1, 2, 64, 1024, 65_536] {
        let name = format!("partitions-{partitions}");
        cases.push(case(&name, partitions, 1, equal_nodes(10)));
    }
    cases.push(case("order-reversed", 4096, 2, equal_nodes(10).into_iter().rev().collect()));
    cases.push(case("weights-1-to-10", 4096, 1, weighted(10, |n| n + 1)));
    cases.push(case("weights-all-256", 4096, 1, weighted(3, |_| 256)));
    cases.push(case("weight-one-heavy", 4096, 3, weighted(8, |n| if n == 5 { 256 } else { 1 })));
    cases.push(case("zones-3-of-3", 4096, 3, zoned()));
    cases.push(case("ids-of-all-shapes", 4096, 2, ids_of_all_shapes()));
    for (count, replicas) in [(7, 1), (24, 3), (100, 2)] {
        let name = format!("mixed-{count}-replicas-{replicas}");
        cases.push(case(&name, 4096, replicas, mixed(count)));
    }
    cases
}

/// A question without configuration.
#[must_use]
pub fn case(name: &str, partitions: u32, replicas: u32, nodes: Vec<Node>) -> Case {
    Case { name: name.to_owned(), config: String::new(), partitions, replicas, nodes }
}

fn weighted(count: usize, weight: fn(u32) -> u32) -> Vec<Node> {
    let nodes = equal_nodes(count).into_iter();
    (0..).zip(nodes).map(|(n, node)| Node { weight: weight(n), ..node }).collect()
}

fn zoned() -> Vec<Node> {
    let nodes = equal_nodes(9).into_iter().enumerate();
    nodes.map(|(n, node)| Node { zone: format!("rack-{}", n % 3), ..node }).collect()
}

fn ids_of_all_shapes() -> Vec<Node> {
    let longest = "n".repeat(64);
    ["a", "0", "a-", "b--2", "node-01", "node-1", "10-0-0-7", &longest].map(Node::named).into()
}

/// Nodes whose ids, weights and zones look random.
fn mixed(count: u32) -> Vec<Node> {
    let node = |n| {
        let random = hash::nth(u64::from(count), n);
        Node {
            id: format!("{:012x}", random >> 16),
            weight: 1 + (random & 7) as u32,
            zone: format!("zone-{}", random >> 8 & 3),
        }
    };
    (0..count).map(node).collect()
}

fn answer(assign: Assign, case: Case) -> Vector {
    let table = assign(&case.nodes, case.partitions, case.replicas, &case.config)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let mut sha256 = String::new();
    for byte in Sha256::digest(&bytes) {
        write!(sha256, "{byte:02x}").expect("writing to a string does not fail");
    }
    Vector { case, sha256, first: table.into_iter().take(FIRST_ENTRIES).collect() }
}

/// The file of a strategy's vectors.
fn path(strategy: &str) -> PathBuf {
    // The workspace is two folders above this crate, which is at strategies/sdk.
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let workspace = folders.nth(2).expect("this crate is below the workspace");
    workspace.join("tests/vectors").join(format!("{strategy}.json"))
}

fn read(path: &Path) -> Result<Document, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// The document with a vector a line, so that a changed vector is a changed line.
fn render(strategy: &str, vectors: &[Vector]) -> String {
    let line = |vector| serde_json::to_string(vector).expect("a vector is plain data");
    let lines: Vec<String> = vectors.iter().map(line).collect();
    format!("{{\"strategy\":\"{strategy}\",\"vectors\":[\n{}\n]}}\n", lines.join(",\n"))
}
