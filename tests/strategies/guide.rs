//! The guide of `strategies/README.md`, "your own strategy in ten minutes", done word for word.
//!
//! It fetches a compiler, so it runs only where templates are to be built: `KV_BUILD_TEMPLATES=1`.

use std::path::Path;

use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::run::Run;
use kv_testkit::needs;

/// The commands of each of the guide's blocks.
fn commands() -> Vec<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../strategies/README.md");
    let text = std::fs::read_to_string(guide).expect("the guide is there");
    let section = text.split("## Your own strategy in ten minutes").nth(1);
    let section = section.and_then(|rest| rest.split("\n## ").next()).expect("it has the section");
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_guide_has_three_blocks_of_commands() {
    assert_eq!(commands().len(), 3);
}

#[needs(templates)]
#[test]
fn the_guide_leads_from_nothing_to_a_cluster_with_a_strategy_of_ones_own() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let dev = Dev::start(&directory.path().join("cluster"), 4);
    let programs = kvclient().parent().expect("programs lie in a folder").to_owned();
    assert_eq!(kvnode().parent(), Some(programs.as_path()));
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = Run::new(Path::new("sh"), directory.path())
        .args(["-e", "-x", "-c", &commands().concat()])
        .env("PATH", &path)
        .env("CONSUL_HTTP_ADDR", dev.address())
        .output();
    let output = output.success();
    let told = output.stdout_text();
    for word in ["imports   none", "pass", ", my-own ", "partition ", "hello"] {
        assert!(told.contains(word), "{word}: {output}");
    }
    output.says(&["placed by my-own"]);
}
