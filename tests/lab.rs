//! `kvclient lab` compares strategies by figures that are true, and draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_core::partition::PartitionCount;
use kv_strategy::{Assign, Node};
use kv_testkit::guests;
use kv_testkit::harness::binaries::kvclient;
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::eventually;
use kv_testkit::harness::run::Run;
use serde_json::{Value, json};
use tempfile::TempDir;

const NATIVE: [(&str, Assign); 2] =
    [("hrw", hrw::assign), ("consistent-hash", consistent_hash::assign)];

fn home() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn lab(home: &Path, args: &[&str]) -> Run {
    Run::new(kvclient(), home).args(["lab"]).args(args)
}

/// Runs it and gives its document.
fn report(home: &Path, args: &[&str]) -> Value {
    lab(home, args).args(["--output", "json"]).output().success().json()
}

fn number(value: &Value, pointer: &str) -> f64 {
    let number = value.pointer(pointer).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("there is no number at {pointer}: {value}"))
}

#[track_caller]
fn same(value: &Value, pointer: &str, expected: f64) {
    let found = number(value, pointer);
    assert!((found - expected).abs() < 1e-9, "{pointer} is {found}, expected {expected}");
}

/// The owners of every partition by id, computed natively.
fn table(assign: Assign, nodes: &[Node], partitions: u32, replicas: u32) -> Vec<BTreeSet<String>> {
    let owners = assign(nodes, partitions, replicas, "").expect("it answers");
    let ids = |owners: &[u32]| owners.iter().map(|it| nodes[*it as usize].id.clone()).collect();
    owners.chunks(replicas as usize).map(ids).collect()
}

/// Highest and lowest ratio of load over due, and the standard deviation.
fn balance(
    nodes: &[Node],
    table: &[BTreeSet<String>],
    load: impl Fn(usize) -> f64,
) -> (f64, f64, f64) {
    let mut loads: BTreeMap<&str, f64> = BTreeMap::new();
    for (partition, owners) in table.iter().enumerate() {
        for owner in owners {
            *loads.entry(owner).or_default() += load(partition);
        }
    }
    let total: f64 = loads.values().sum();
    let weights: u32 = nodes.iter().map(|node| node.weight).sum();
    let ratio = |node: &Node| {
        let due = total * f64::from(node.weight) / f64::from(weights);
        loads.get(node.id.as_str()).copied().unwrap_or(0.0) / due
    };
    let ratios: Vec<f64> = nodes.iter().map(ratio).collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!((mean - 1.0).abs() < 0.5, "ratios are about 1");
    let squares: f64 = ratios.iter().map(|ratio| (ratio - 1.0).powi(2)).sum();
    let max = ratios.iter().copied().fold(f64::MIN, f64::max);
    let min = ratios.iter().copied().fold(f64::MAX, f64::min);
    (max, min, (squares / ratios.len() as f64).sqrt())
}

/// The replicas that have another node afterwards.
fn moved(before: &[BTreeSet<String>], after: &[BTreeSet<String>]) -> f64 {
    before.iter().zip(after).map(|(old, new)| new.difference(old).count()).sum::<usize>() as f64
}

#[test]
fn figures_agree_with_an_independent_native_computation() {
    let home = home();
    let keys: Vec<String> = (0..3000).map(|number| format!("user/{}", number * 7)).collect();
    fs::write(home.path().join("keys"), keys.join("\n")).expect("a file can be written");
    let args = "--nodes 9 --weights 1,2,4 --zones a,a,b --replicas 2 --partitions 1024 --add 2 \
                --remove node-3,node-0 --keys keys";
    let args: Vec<&str> = args.split_whitespace().collect();
    let report = report(home.path(), &args);
    let node = |number: usize| Node {
        id: format!("node-{number}"),
        weight: [1, 2, 4][number % 3],
        zone: ["a", "a", "b"][number % 3].to_owned(),
    };
    let all: Vec<Node> = (0..11).map(node).collect();
    let (nodes, left) = (&all[..9], [1, 2, 4, 5, 6, 7, 8].map(node));
    let partitions = PartitionCount::new(1024).unwrap();
    let mut counts = vec![0.0; 1024];
    for key in &keys {
        counts[partitions.partition_of(key).0 as usize] += 1.0;
    }
    let rows = report["strategies"].as_array().expect("it is a list");
    for (name, assign) in NATIVE {
        let row = rows.iter().find(|row| row["name"] == name).expect("all built-in ones are there");
        let before = table(assign, nodes, 1024, 2);
        for (pointer, (max, min, deviation)) in [
            ("/partitions", balance(nodes, &before, |_| 1.0)),
            ("/keys", balance(nodes, &before, |partition| counts[partition])),
        ] {
            same(row, &format!("{pointer}/max_over_mean"), max);
            same(row, &format!("{pointer}/min_over_mean"), min);
            same(row, &format!("{pointer}/standard_deviation"), deviation);
        }
        let weight = |nodes: &[Node]| nodes.iter().map(|it| f64::from(it.weight)).sum::<f64>();
        for (pointer, after, minimum) in [
            ("/join", &all[..], weight(&all[9..]) / weight(&all)),
            ("/leave", &left, (weight(nodes) - weight(&left)) / weight(nodes)),
        ] {
            let moved = moved(&before, &table(assign, after, 1024, 2));
            same(row, &format!("{pointer}/total"), 2048.0);
            same(row, &format!("{pointer}/moved"), moved);
            same(row, &format!("{pointer}/share"), moved / 2048.0);
            same(row, &format!("{pointer}/minimum_share"), minimum);
            same(row, &format!("{pointer}/times_minimum"), moved / 2048.0 / minimum);
            same(row, &format!("{pointer}/needless"), 0.0);
        }
        let zone_of = |id: &String| &nodes.iter().find(|node| node.id == *id).unwrap().zone;
        let is_short = |owners: &&BTreeSet<String>| {
            owners.iter().map(zone_of).collect::<BTreeSet<_>>().len() < 2
        };
        same(row, "/zones/possible", 2.0);
        same(row, "/zones/partitions_short", before.iter().filter(is_short).count() as f64);
    }
}

#[test]
fn the_document_says_what_was_asked_and_what_it_costs() {
    let home = home();
    let report = report(home.path(), &["--nodes", "3", "--partitions", "16"]);
    let scenario = &report["scenario"];
    let node = |id: &str| json!({"id": id, "weight": 1, "zone": ""});
    assert_eq!(scenario["nodes"], json!([node("node-0"), node("node-1"), node("node-2")]));
    assert_eq!(
        (&scenario["joining"], &scenario["leaving"]),
        (&json!([node("node-3")]), &json!(["node-2"]))
    );
    assert_eq!([&scenario["partitions"], &scenario["replicas"]], [&json!(16), &json!(1)]);
    assert_eq!([&scenario["keys"], &scenario["cluster"]], [&Value::Null, &Value::Null]);
    let rows = report["strategies"].as_array().expect("it is a list");
    let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(names.starts_with(&["hrw", "consistent-hash"]), "{names:?}");
    for row in rows {
        assert_eq!(
            (&row["error"], &row["keys"], &row["migrate"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!((&row["config"], &row["strategy"]), (&json!(""), &row["name"]));
        assert_eq!(row["sha256"].as_str().map(str::len), Some(64), "{row}");
        let cost = &row["cost"];
        for figure in ["compile_ms", "load_ms", "wasm_ms", "native_ms", "fuel", "rounds"] {
            assert!(number(cost, &format!("/{figure}")) > 0.0, "{figure}: {row}");
        }
        same(cost, "/wasm_over_native", number(cost, "/wasm_ms") / number(cost, "/native_ms"));
        same(cost, "/fuel_share", number(cost, "/fuel") / number(cost, "/fuel_limit"));
        let loads = row["partitions"]["loads"].as_array().expect("it is a list");
        assert_eq!(loads.iter().filter_map(Value::as_u64).sum::<u64>(), 16);
    }
}

#[test]
fn a_person_reads_tables() {
    let home = home();
    let args = ["hrw", "consistent-hash", "--config", "consistent-hash=", "--config"];
    let args = [&args[..], &["consistent-hash=points=9", "--remove", "0"]].concat();
    let output = lab(home.path(), &args).output().success();
    let text = output.stdout_text();
    for words in ["LOAD OVER DUE", "MOVED", "COST (ms)", "consistent-hash points=9", "of node-10"] {
        assert!(text.contains(words), "{words}\n{output}");
    }
    assert!(!text.contains("LEAVE") && !text.contains("KEYS") && !text.contains("ZONES"), "{text}");
}

#[test]
fn keys_come_as_lines_or_records_or_from_standard_input() {
    let home = home();
    let records: String = (0..500)
        .map(|number| format!("{{\"key\":\"k{number}\",\"value\":\"{number}\"}}\n"))
        .collect();
    let keys: String = (0..500).map(|number| format!("k{number}\n")).collect();
    fs::write(home.path().join("records"), &records).expect("a file can be written");
    let one = report(home.path(), &["hrw", "--keys", "records"]);
    let run = lab(home.path(), &["hrw", "--keys", "-", "--output", "json"]);
    let other = run.stdin(keys).output().success().json();
    assert_eq!(one["scenario"]["keys"], 500);
    assert_eq!(one["strategies"][0]["keys"], other["strategies"][0]["keys"]);
    for (text, words) in [
        ("", "no keys"),
        ("{\"key\":\"a\"}\nb\n", "line 2"),
        (&"k".repeat(2000), "a key of 2000 bytes"),
    ] {
        fs::write(home.path().join("bad"), text).expect("a file can be written");
        let output = lab(home.path(), &["hrw", "--keys", "bad"]).output();
        output.code(2).no_stdout().says(&["bad", words]);
    }
    let output = lab(home.path(), &["--keys", "no-such-file"]).output();
    output.code(2).no_stdout().says(&["no-such-file"]);
}

#[test]
fn a_strategy_that_fails_has_its_error_and_the_others_go_on() {
    let home = home();
    let guests = ["trap", "first-node", "out-of-range", "imports", "loop"];
    for name in guests {
        let path = home.path().join(format!("{name}.wasm"));
        fs::write(path, guests::component(name)).expect("a file can be written");
    }
    let files: Vec<String> = guests.iter().map(|name| format!("./{name}.wasm")).collect();
    let mut args: Vec<&str> = files.iter().map(String::as_str).collect();
    args.extend(["./missing.wasm", "hrw", "consistent-hash", "--config"]);
    args.extend(["consistent-hash=points=none", "--partitions", "64", "--pictures", "review"]);
    let output = lab(home.path(), &args).args(["--output", "json"]).output().code(4);
    let report = output.json();
    let codes: BTreeMap<&str, &str> = report["strategies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let code = row["error"]["code"].as_str().unwrap_or("none");
            assert_eq!(row["partitions"].is_null(), code != "none", "{row}");
            (row["name"].as_str().expect("a row has a name"), code)
        })
        .collect();
    assert_eq!(codes.len(), 8);
    assert_eq!((codes["hrw"], codes["trap.wasm"]), ("none", "strategy_trap"));
    assert_eq!(codes["missing.wasm"], "strategy_not_found");
    assert!(codes["consistent-hash points=none"].contains("config"), "{codes:?}");
    // It answers, and puts everything on one node; that is bad, and no error.
    assert_eq!(codes["first-node.wasm"], "none");
    output.says(&["strategies_failed", "of 8 strategies failed"]);
    let names = names(&home.path().join("review"));
    assert!(names.contains("overview.svg") && names.contains("hrw-ring.png"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("trap")), "{names:?}");
    let text = lab(home.path(), &["./trap.wasm", "hrw"]).output().code(4);
    assert!(text.stdout_text().contains("FAILED\ntrap.wasm: "), "{text}");
}

#[test]
fn bad_arguments_are_refused_with_words() {
    let home = home();
    fs::write(home.path().join("file"), "").expect("a file can be written");
    for (args, words) in [
        (&["no-such-strategy"][..], "no-such-strategy"),
        (&["hrw", "hrw"], "named twice"),
        (&["--nodes", "0"], "--nodes"),
        (&["--nodes", "1000", "--add", "1"], "1000 nodes"),
        (&["--nodes", "2", "--replicas", "3"], "2 of 2 nodes would be left for 3 replicas"),
        (&["--partitions", "1000"], "power of two"),
        (&["--weights", "1,300"], "weights from 1 to 256"),
        (&["--weights", "node-44=2"], "node-44"),
        (&["--remove", "node-44"], "node-44"),
        (&["--config", "nobody=1"], "expected STRATEGY=TEXT"),
        (&["--from-cluster", "--nodes", "3"], "--from-cluster"),
        (&["--strategy", "hrw"], "leave --strategy out"),
        (&["--pictures", "file/folder"], "file/folder"),
    ] {
        lab(home.path(), args).output().code(2).no_stdout().says(&[words]);
    }
    let output = lab(home.path(), &["--consul", "127.0.0.1:1", "--from-cluster"]).output();
    output.code(3).no_stdout().says(&["127.0.0.1:1"]);
}

/// The names of all files in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The width and height that an SVG states, and those that a PNG has.
fn sizes(folder: &Path, name: &str) -> ([f64; 2], [f64; 2]) {
    let svg = fs::read_to_string(folder.join(format!("{name}.svg"))).expect("an SVG is text");
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{name}");
    let stated = |attribute: &str| -> f64 {
        let (_, rest) = svg.split_once(&format!(" {attribute}=\"")).expect("it states its size");
        rest.split('"').next().and_then(|text| text.parse().ok()).expect("a size is a number")
    };
    let png = fs::read(folder.join(format!("{name}.png"))).expect("it is readable");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.ends_with(b"IEND\xaeB`\x82"), "{name}");
    let at = |from: usize| {
        let bytes = png[from..from + 4].iter();
        f64::from(bytes.fold(0, |number, byte| number << 8 | u32::from(*byte)))
    };
    ([stated("width"), stated("height")], [at(16), at(20)])
}

#[test]
fn pictures_are_drawn_and_replaced() {
    let home = home();
    let folder = home.path().join("deep/review");
    for args in [&["--nodes", "6"][..], &["--nodes", "60", "--add", "3", "--remove", "2"]] {
        let args = [args, &["hrw", "--partitions", "256", "--pictures", "deep/review"]].concat();
        lab(home.path(), &args).output().success().says(&["wrote 4 pictures", "deep/review"]);
        let kinds = ["hrw-load", "hrw-movement", "hrw-ring", "overview"];
        let files = kinds.iter().flat_map(|it| [format!("{it}.svg"), format!("{it}.png")]);
        assert_eq!(names(&folder), files.collect());
        for kind in kinds {
            let (svg, png) = sizes(&folder, kind);
            assert_eq!(png, svg.map(|size| size * 2.0), "{kind} has two pixels for one");
            assert!(png.iter().all(|size| (600.0..8192.0).contains(size)), "{kind}: {png:?}");
        }
        let svg = fs::read_to_string(folder.join("hrw-load.svg")).expect("it is text");
        assert!(svg.contains(&format!("{} nodes, 256 partitions", args[1])), "it is the new one");
    }
}

#[test]
fn an_interrupt_ends_it_at_once_and_leaves_nothing_half_done() {
    let home = home();
    let args = ["--nodes", "900", "--partitions", "65536", "--pictures", "review"];
    let running = lab(home.path(), &args).spawn();
    let folder: PathBuf = home.path().join("review");
    eventually("it has begun", Duration::from_secs(60), || match folder.exists() {
        true => Ok(()),
        false => Err("there is no folder yet".to_owned()),
    });
    running.interrupt();
    running.output().code(130).no_stdout().says(&["interrupted"]);
    assert!(names(&folder).is_empty());
}

#[test]
fn a_live_cluster_is_compared_with_what_a_migration_would_make_of_it() {
    let home = home();
    let dev = Dev::start(&home.path().join("data"), 3);
    let run = |args: &[&str]| {
        Run::new(kvclient(), home.path()).args(["--consul", dev.address()]).args(args)
    };
    let output = run(&["lab", "--from-cluster"]).output();
    output.code(4).no_stdout().says(&["no layout yet"]);
    run(&[
        "--strategy",
        "consistent-hash",
        "init",
        "--partitions",
        "512",
        "--strategy-config",
        "points=256",
    ])
    .output()
    .success();
    let output = run(&["lab", "--from-cluster", "--output", "json", "--remove", "node-1"]).output();
    let report = output.success().json();
    let status = run(&["status", "--output", "json"]).output().success().json();
    let scenario = &report["scenario"];
    assert_eq!(scenario["cluster"]["uuid"], status["layout"]["cluster"]);
    assert_eq!((&scenario["partitions"], &scenario["cluster"]["epoch"]), (&json!(512), &json!(1)));
    let ids = scenario["nodes"].as_array().into_iter().flatten().map(|node| &node["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), ["node-0", "node-1", "node-2"]);
    assert_eq!(scenario["joining"][0]["id"], "node-3");
    let rows = report["strategies"].as_array().expect("it is a list");
    assert_eq!(rows[0]["name"], "consistent-hash (cluster) points=256");
    assert_eq!(rows[0]["migrate"]["moved"], 0);
    let owned = status["nodes"].as_array().into_iter().flatten().map(|node| &node["partitions"]);
    let loads = rows[0]["partitions"]["loads"].as_array().into_iter().flatten();
    assert!(owned.eq(loads), "{report}\n{status}");
    // With its defaults it is another strategy, and so is every other.
    for (row, plan) in [
        ("hrw", &["plan", "migrate", "--to", "hrw"][..]),
        (
            "consistent-hash",
            &["plan", "migrate", "--to", "consistent-hash", "--strategy-config", ""],
        ),
    ] {
        let row = rows.iter().find(|it| it["name"] == row).expect("all built-in ones are there");
        let config = if row["name"] == "hrw" { &["--strategy-config", ""][..] } else { &[] };
        let args = [plan, config, &["--output", "json"]].concat();
        let plan = run(&args).output().success().json();
        assert_eq!(row["migrate"]["moved"], plan["partitions_moved"], "{row}");
    }
    let text = run(&["lab", "hrw", "--from-cluster"]).output().success();
    for words in ["MIGRATE", "epoch 1", "consistent-hash (cluster)"] {
        assert!(text.stdout_text().contains(words), "{text}");
    }
}
