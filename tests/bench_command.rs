//! `kvclient bench` measures what it says, and leaves the rest alone.

use std::time::Duration;

use kv_testkit::harness::{Backend, Cluster};
use serde_json::{Value, json};

/// Runs `kvclient bench` with a few records, and gives its report.
fn bench(cluster: &Cluster, args: &[&str]) -> Value {
    let few = ["bench", "--keys", "200", "--value-size", "10", "--output", "json"];
    cluster.kvclient(&[&few, args].concat()).output().success().no_stderr().json()
}

fn number(report: &Value, pointer: &str) -> f64 {
    let number = report.pointer(pointer).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("there is no number at {pointer}: {report}"))
}

/// Checks that all figures of a report fit together.
fn adds_up(report: &Value) {
    let operations = number(report, "/operations");
    let by_operation = report["by_operation"].as_object().expect("it is an object");
    let kinds = by_operation.values().map(|it| number(it, "/operations")).sum::<f64>();
    let seconds = report["over_time"].as_array().expect("it is a list");
    let over_time = seconds.iter().map(|it| number(it, "/operations")).sum::<f64>();
    assert_eq!((kinds, over_time), (operations, operations), "{report}");
    let throughput = operations / number(report, "/seconds");
    assert!((number(report, "/throughput") / throughput - 1.0).abs() < 0.001, "{report}");
    let spreads = by_operation.values().chain([report]).map(|it| &it["latency_us"]);
    for spread in spreads {
        let spread = ["/p50", "/p95", "/p99", "/p999", "/max"].map(|it| number(spread, it));
        assert!(spread[0] > 0.0 && spread.is_sorted(), "{report}");
    }
    assert_eq!((&report["errors"], &report["not_found"]), (&json!(0), &json!(0)), "{report}");
}

#[test]
fn every_workload_is_measured() {
    let cluster = Cluster::start(Backend::Embedded, 2);
    for (workload, distribution, kinds) in [
        ("put", "uniform", &["update"][..]),
        ("get", "uniform", &["read"]),
        ("a", "zipfian", &["read", "update"]),
        ("b", "zipfian", &["read", "update"]),
        ("c", "zipfian", &["read"]),
        ("d", "latest", &["read", "insert"]),
        ("f", "zipfian", &["read", "read_modify_write"]),
    ] {
        let args = ["--workload", workload, "--threads", "2", "--depth", "8"];
        let report = bench(&cluster, &[&args[..], &["--operations", "1000"]].concat());
        adds_up(&report);
        assert_eq!(report["operations"], 1000, "{report}");
        let asked = ["workload", "distribution"].map(|it| report[it].as_str());
        assert_eq!(asked, [Some(workload), Some(distribution)]);
        let asked = ["keys", "value_size", "threads", "depth", "seed"].map(|it| &report[it]);
        assert_eq!(asked, [&json!(200), &json!(10), &json!(2), &json!(8), &json!(1)]);
        let mut measured: Vec<_> = report["by_operation"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(kind, _)| kind)
            .collect();
        measured.sort();
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        assert_eq!(measured, kinds);
        assert!(number(&report, "/load/throughput") > 0.0, "{report}");
    }
}

#[test]
fn records_stay_and_are_found_again() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let args = ["--workload", "c", "--operations", "50", "--prefix", "mine/"];
    adds_up(&bench(&cluster, &args));
    let report = bench(&cluster, &[&args[..], &["--no-load"]].concat());
    adds_up(&report);
    assert_eq!(report["load"], Value::Null, "{report}");
    let output = cluster.kvclient(&["get-all"]).output().success();
    let lines: Vec<_> = output.stdout_text().lines().collect();
    assert_eq!(lines.len(), 200);
    assert!(lines.iter().all(|line| line.contains("\"mine/0000000")), "{output}");
}

#[test]
fn records_that_are_to_be_there_and_are_not_are_said() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let no_load = |args: &[&str], words: &[&str]| {
        let args = [&["bench", "--no-load", "--operations", "50"], args].concat();
        cluster.kvclient(&args).output().code(2).no_stdout().says(words);
    };
    for workload in ["put", "get", "d"] {
        let words = ["no \"bench-0000000000\"", "leave --no-load out", "--prefix"];
        no_load(&["--workload", workload, "--keys", "200"], &words);
    }
    // It has stored nothing either.
    assert_eq!(cluster.kvclient(&["get-all"]).output().success().stdout_text(), "");
    bench(&cluster, &["--workload", "get", "--operations", "1"]);
    no_load(&["--workload", "get", "--keys", "201"], &["of 201", "\"bench-0000000200\"", "--keys"]);
    no_load(&["--workload", "get", "--keys", "200", "--prefix", "b"], &["\"b0000000000\""]);
    // A gap that is not looked for is told by the report.
    cluster.kvclient(&["delete", "bench-0000000001"]).output().success();
    let report = bench(&cluster, &["--workload", "get", "--no-load", "--operations", "4000"]);
    assert!(number(&report, "/not_found") > 0.0, "{report}");
}

#[test]
fn a_duration_is_kept_and_a_warm_up_not_counted() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let args = ["--workload", "get", "--duration", "1.5", "--warm-up", "0.5"];
    let report = bench(&cluster, &args);
    adds_up(&report);
    assert!((1.4..3.0).contains(&number(&report, "/seconds")), "{report}");
    assert_eq!(report["warm_up"]["seconds"], 0.5, "{report}");
    assert!(number(&report, "/warm_up/operations") > 0.0, "{report}");
    assert!(report["over_time"].as_array().is_some_and(|it| it.len() >= 2), "{report}");
}

#[test]
fn a_rate_is_held_and_one_that_cannot_be_held_is_said() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    // A rate so low that also a busy machine holds it: each operation may take half a second.
    let args = ["--workload", "b", "--threads", "2", "--rate", "50", "--warm-up", "0.5"];
    let report = bench(&cluster, &[&args[..], &["--duration", "2"]].concat());
    adds_up(&report);
    assert_eq!(report["operations"], 100, "{report}");
    assert_eq!(report["warm_up"]["seconds"], 0.5, "{report}");
    // Those that have not begun when the measuring does are left out.
    assert!((1.0..=25.0).contains(&number(&report, "/warm_up/operations")), "{report}");
    let rate = &report["rate"];
    assert_eq!((&rate["asked"], &rate["held"]), (&json!(50), &json!(true)), "{report}");
    assert!(number(&report, "/seconds") > 1.9, "{report}");

    // A number of operations takes as long as the rate says, and is carried out in full.
    let report = bench(&cluster, &[&args[..], &["--operations", "75"]].concat());
    assert_eq!(report["operations"], 75, "{report}");
    assert!(number(&report, "/seconds") > 1.4, "{report}");

    let args = ["--workload", "get", "--depth", "1", "--rate", "10000000", "--duration", "1"];
    let report = bench(&cluster, &args);
    adds_up(&report);
    assert_eq!(report["rate"]["held"], false, "{report}");
    assert!(number(&report, "/rate/not_begun") > 1_000_000.0, "{report}");
    assert!(number(&report, "/rate/achieved") < 1_000_000.0, "{report}");
    // What was due before the end is begun for a second longer.
    assert!((1.0..4.0).contains(&number(&report, "/seconds")), "{report}");
    let args = [&["bench", "--no-load", "--keys", "200"], &args[..]].concat();
    let output = cluster.kvclient(&args).output().success().no_stderr();
    assert!(output.stdout_text().contains("NOT HELD"), "{output}");
}

/// The report of a benchmark during which the node stands still for a second.
fn bench_with_a_pause(cluster: &Cluster, args: &[&str]) -> Value {
    let few = ["bench", "--keys", "200", "--no-load", "--workload", "get", "--output", "json"];
    let running = cluster.kvclient(&[&few, args].concat()).spawn();
    let node = cluster.node(0);
    running.wait_until_connected(node.port());
    // It is to stand still while the measuring goes on, which begins at once and takes four seconds.
    std::thread::sleep(Duration::from_secs(1));
    node.freeze();
    std::thread::sleep(Duration::from_secs(1));
    node.thaw();
    running.output().success().json()
}

#[test]
fn a_pause_is_in_the_latencies_of_a_rate_and_hidden_by_a_closed_loop() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    bench(&cluster, &["--workload", "get", "--operations", "1"]);
    let args = ["--duration", "4", "--warm-up", "0", "--depth", "1"];
    let closed = bench_with_a_pause(&cluster, &args);
    let open = bench_with_a_pause(&cluster, &[&args[..], &["--rate", "200"]].concat());
    let us = |report: &Value, at: &str| number(report, &format!("/latency_us/{at}"));
    // Both have seen it.
    assert!(us(&closed, "max") > 900e3 && us(&open, "max") > 900e3, "{closed}\n{open}");
    // The closed loop had one operation under way, which is far below one in a hundred.
    assert!(us(&closed, "p99") < 500e3, "{closed}");
    // At a fixed rate, every fourth operation fell due meanwhile.
    assert_eq!(open["operations"], 800, "{open}");
    assert!(us(&open, "p95") > 500e3 && us(&open, "p99") > 800e3, "{open}");
    assert!(us(&open, "p50") < 500e3, "{open}");
}

#[test]
fn a_report_can_be_read_by_people() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let args = ["bench", "--workload", "b", "--keys", "100", "--rate", "50", "--duration", "1"];
    let output = cluster.kvclient(&args).output().success().no_stderr();
    for word in ["warm-up     1.0 s, ", "50 operations in", "50/s was held"] {
        assert!(output.stdout_text().contains(word), "{word}\n{output}");
    }
    let args = ["bench", "--workload", "a", "--keys", "100", "--operations", "1000"];
    let output = cluster.kvclient(&args).output().success().no_stderr();
    for word in ["zipfian", "records/s", "1000 operations", "P99.9", "read", "update", "SECOND"] {
        assert!(output.stdout_text().contains(word), "{word}\n{output}");
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_happens() {
    let cluster = Cluster::without_layout(Backend::Embedded, 1);
    for (args, word) in [
        (&[][..], "--workload"),
        (&["--workload", "e"], "possible values"),
        (&["--workload", "get", "--keys", "0"], "--keys"),
        (&["--workload", "get", "--depth", "0"], "--depth"),
        (&["--workload", "get", "--threads", "1024", "--depth", "65"], "at most 65536"),
        (&["--workload", "get", "--value-size", "33554433"], "--value-size"),
        (&["--workload", "get", "--operations", "1", "--duration", "1"], "--duration"),
        (&["--workload", "get", "--rate", "0"], "--rate"),
        (&["--workload", "get", "--rate", "10000001"], "--rate"),
        (&["--workload", "get", "--rate", "fast"], "--rate"),
        (&["--workload", "d", "--distribution", "uniform"], "--distribution"),
        (&["--workload", "get", "--prefix", &"k".repeat(1015)], "--prefix"),
    ] {
        let output = cluster.kvclient(&[&["bench"][..], args].concat()).output();
        output.code(2).no_stdout().says(&[word]);
    }
    // No layout was created meanwhile.
    let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
    assert_eq!(status["layout"], Value::Null);
}
