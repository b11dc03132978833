//! `kvclient bench` measures what it says, and leaves the rest alone.

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
    // Nothing is there yet, which is not an error, but is told.
    let report = bench(&cluster, &[&args[..], &["--no-load"]].concat());
    assert_eq!((&report["not_found"], &report["load"]), (&json!(50), &Value::Null), "{report}");
    adds_up(&bench(&cluster, &args));
    adds_up(&bench(&cluster, &[&args[..], &["--no-load"]].concat()));
    let output = cluster.kvclient(&["get-all"]).output().success();
    let lines: Vec<_> = output.stdout_text().lines().collect();
    assert_eq!(lines.len(), 200);
    assert!(lines.iter().all(|line| line.contains("\"mine/0000000")), "{output}");
}

#[test]
fn a_duration_is_kept_and_a_warm_up_not_counted() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let args = ["--workload", "get", "--duration", "1.5", "--warm-up", "0.5"];
    let report = bench(&cluster, &args);
    adds_up(&report);
    assert!((1.4..3.0).contains(&number(&report, "/seconds")), "{report}");
    assert!(report["over_time"].as_array().is_some_and(|it| it.len() >= 2), "{report}");
}

#[test]
fn a_report_can_be_read_by_people() {
    let cluster = Cluster::start(Backend::Embedded, 1);
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
