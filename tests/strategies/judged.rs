//! `kvclient strategy inspect` and `check`, without a cluster.

use kv_testkit::harness::{Backend, Cluster};
use serde_json::{Value, json};

use super::write_guest;

/// Nothing listens there, and these commands ask no Consul.
const NOWHERE: [&str; 2] = ["--consul", "127.0.0.1:1"];

fn finding<'a>(report: &'a Value, property: &str) -> &'a Value {
    let findings = report["properties"].as_array().expect("properties are a list");
    findings.iter().find(|it| it["property"] == property).expect("the property is reported")
}

#[test]
fn a_strategy_is_shown_for_what_it_is() {
    let cluster = Cluster::empty(Backend::Embedded);
    let inspect = ["strategy", "inspect", "hrw"];
    let text = cluster.kvclient_anywhere(&inspect).args(NOWHERE).output().success().no_stderr();
    for word in ["hrw", "rendezvous", "imports   none", "kv:placement/strategy@0.2.0", "fuel"] {
        assert!(text.stdout_text().contains(word), "{word}: {text}");
    }
    let json = ["--output", "json"];
    let shown = cluster.kvclient_anywhere(&inspect).args(json).output().success().json();
    assert_eq!((&shown["contract"], &shown["imports"]), (&json!("0.2.0"), &json!([])));
    assert_eq!(shown["settings"], json!(""));
    assert_eq!(shown["sha256"].as_str().map(str::len), Some(64));
    let reference = &shown["reference"];
    assert!(reference["fuel"].as_u64() < reference["fuel_max"].as_u64(), "{shown}");
    let ring = cluster.kvclient(&["strategy", "inspect", "consistent-hash"]).output().success();
    assert!(ring.stdout_text().contains("settings  points=N: "), "{ring}");
    // A component that is refused is still shown as far as it goes.
    let clock = write_guest(&cluster, "imports");
    let output = cluster.kvclient(&["strategy", "inspect", &clock]).output().code(4);
    assert!(output.stdout_text().contains("imports   test:clock/time@1.0.0"), "{output}");
    output.says(&["imports", "test:clock/time"]);
    cluster.kvclient(&["strategy", "inspect", "./none.wasm"]).output().code(2).no_stdout();
}

#[test]
fn a_strategy_is_judged_property_by_property() {
    let cluster = Cluster::empty(Backend::Embedded);
    let check = |strategy: &str| {
        cluster.kvclient_anywhere(&["strategy", "check", strategy, "--output", "json"]).output()
    };
    let good = check("hrw").success().no_stderr().json();
    assert_eq!(good["passed"], json!(true), "{good}");
    let balanced = finding(&good, "balanced");
    let (value, limit) = (&balanced["figure"]["value"], &balanced["figure"]["limit"]);
    assert!(value.as_f64() > Some(1.0) && value.as_f64() < limit.as_f64(), "{balanced}");
    // It does not look at zones, which no table needs as long as there is one replica.
    let zones = finding(&good, "zones-distinct");
    assert_eq!((&zones["verdict"], &zones["required"]), (&json!("fail"), &json!(false)));

    let guest = write_guest(&cluster, "in-turn");
    let output = cluster.kvclient(&["strategy", "check", &guest]).output().code(4);
    let text = output.stdout_text();
    assert!(text.contains("honours-weights        fail"), "{text}");
    assert!(text.contains("honours-weights: 2 nodes of weights 1, 2, 8192 partitions:"), "{text}");
    output.says(&["lacks: honours-weights, moves-little-on-join, moves-little-on-leave"]);
    let bad = cluster.kvclient(&["strategy", "check", &guest, "--output", "json"]).output().code(4);
    let bad = bad.json();
    assert_eq!(bad["passed"], json!(false));
    let join = finding(&bad, "moves-little-on-join");
    assert!(join["counterexample"].as_str().is_some_and(|it| it.contains("joins")), "{join}");
}
