//! The command line: words for people on standard error, data for programs on standard output.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use kv_testkit::harness::catalog::layout;
use kv_testkit::harness::corpus::{Line, ndjson};
use kv_testkit::harness::peer::parse;
use kv_testkit::harness::{Backend, Cluster, binaries, on_both_backends};
use serde_json::{Value, json};

on_both_backends!(the_first_client_creates_the_layout_and_says_so);

const COMMANDS: [&str; 13] = [
    "put",
    "get",
    "get-all",
    "delete",
    "import",
    "export",
    "locate",
    "explain",
    "status",
    "lab",
    "strategy",
    "init",
    "completions",
];

fn the_first_client_creates_the_layout_and_says_so(backend: Backend) {
    let cluster = Cluster::without_layout(backend, 2);
    // Looking creates nothing.
    let output = cluster.kvclient(&["status"]).output().success();
    assert!(output.stdout_text().contains("none yet"), "{output}");
    let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
    assert_eq!((&status["layout"], &status["name"]), (&Value::Null, &json!(cluster.name())));
    assert_eq!(layout(&cluster), None);

    let output = cluster.kvclient(&["put", "key", "value"]).output().success().no_stdout();
    output.says(&[
        "created cluster",
        cluster.name(),
        "epoch 1",
        "4096 partitions",
        "2 nodes",
        "hrw",
    ]);
    cluster.kvclient(&["put", "key", "value"]).output().success().no_stdout().no_stderr();
    let created = layout(&cluster).expect("there is a layout now");
    cluster.kvclient(&["init"]).output().code(4).no_stdout().says(&["has a layout already"]);
    assert_eq!(layout(&cluster), Some(created.clone()));

    let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
    assert_eq!(status["layout"]["cluster"], created["cluster"]);
    let nodes = status["nodes"].as_array().expect("nodes are a list");
    for (node, expected) in nodes.iter().zip(cluster.nodes()) {
        assert_eq!(node["id"], expected.id());
        assert_eq!(node["address"], expected.address());
        assert_eq!((&node["health"], &node["member"]), (&json!("passing"), &json!(true)));
    }
    let text = cluster.kvclient(&["status"]).output().success().no_stderr();
    for word in ["node-0", "node-1", "passing", "hrw", "4096"] {
        assert!(text.stdout_text().contains(word), "{text}");
    }
}

#[test]
fn many_first_clients_create_one_layout() {
    let cluster = Cluster::without_layout(Backend::Embedded, 2);
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let put = |n: usize| cluster.kvclient(&["put", &format!("key-{n}"), "value"]);
        let clients: Vec<_> = (0..6).map(|n| scope.spawn(move || put(n).output())).collect();
        clients.into_iter().map(|client| client.join().expect("it does not panic")).collect()
    });
    let created = outputs.into_iter().map(|output| output.success().stderr_text());
    let created = created.filter(|text| text.contains("created cluster")).count();
    assert_eq!(created, 1, "one of them created it, and the others found it");
    let output = cluster.kvclient(&["get-all"]).output().success();
    assert_eq!(output.stdout_text().lines().count(), 6);
}

#[test]
fn a_layout_is_not_created_of_nodes_in_doubt() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let put = ["put", "key", "value"];
    cluster.kvclient(&put).output().code(3).no_stdout().says(&["no node", "kvnode"]);
    cluster.add_nodes(2);
    // Registered, and silent.
    cluster.node_mut(1).kill();
    let output = cluster.kvclient(&[&["--timeout", "2"][..], &put].concat()).output();
    output.code(3).no_stdout().says(&["node-1", "no layout yet"]);
    assert_eq!(layout(&cluster), None);
    cluster.node_mut(1).restart();
    cluster.kvclient(&put).output().success();
}

#[test]
fn init_takes_numbers_and_settings() {
    let cluster = Cluster::without_layout(Backend::Embedded, 2);
    for wrong in ["0", "3", "131072", "many"] {
        cluster.kvclient(&["init", "--partitions", wrong]).output().code(2).says(&["--partitions"]);
    }
    let init = ["--strategy", "consistent-hash", "init", "--strategy-config"];
    let output = cluster.kvclient(&[&init[..], &["nonsense"]].concat()).output();
    output.code(4).no_stdout().says(&["consistent-hash", "nonsense"]);
    assert_eq!(layout(&cluster), None);
    let output = cluster.kvclient(&["--output", "json", "init", "--partitions", "16"]).output();
    let created = output.success().json();
    assert_eq!((&created["partitions"], &created["epoch"]), (&json!(16), &json!(1)));
    assert_eq!(created["nodes"], json!(["node-0", "node-1"]));
    assert_eq!(created["strategy"], "hrw");
}

#[test]
fn help_teaches() {
    let cluster = Cluster::empty(Backend::Embedded);
    let help = cluster.kvclient_anywhere(&["--help"]).output().success().no_stderr();
    for word in
        COMMANDS.iter().chain(&["--consul", "--strategy", "--output", "Exit codes", "Examples"])
    {
        assert!(help.stdout_text().contains(word), "{word}\n{help}");
    }
    for command in COMMANDS {
        let help = cluster.kvclient_anywhere(&[command, "--help"]).output().success().no_stderr();
        assert!(help.stdout_text().contains("Usage: kvclient"), "{help}");
    }
    let help = cluster.kvnode_help(&["--help"]);
    for word in ["--consul", "--data-dir", "Examples", "Exit codes", "dev"] {
        assert!(help.stdout_text().contains(word), "{word}\n{help}");
    }
    let help = cluster.kvnode_help(&["dev", "--help"]);
    for word in ["--nodes", "--consul-port", "--data-dir"] {
        assert!(help.stdout_text().contains(word), "{word}\n{help}");
    }
    for args in [&["--version"][..], &["-V"]] {
        let client = cluster.kvclient_anywhere(args).output().success().no_stderr();
        assert!(client.stdout_text().starts_with("kvclient "), "{client}");
        assert!(cluster.kvnode_help(args).stdout_text().starts_with("kvnode "));
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    let cluster = Cluster::empty(Backend::Embedded);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output =
            cluster.kvclient_anywhere(&["completions", shell]).output().success().no_stderr();
        for command in COMMANDS {
            assert!(output.stdout_text().contains(command), "{shell}: {command}");
        }
    }
    cluster.kvclient_anywhere(&["completions", "tcl"]).output().code(2).no_stdout().says(&["tcl"]);
    let script = cluster.kvclient_anywhere(&["completions", "bash"]).output().success();
    let checked = Command::new("bash").args(["-n", "-c", script.stdout_text()]).output();
    if let Ok(checked) = checked {
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn wrong_usage_is_explained() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let too_long = "k".repeat(1025);
    for (args, word) in [
        (&[][..], "Usage"),
        (&["shout"], "shout"),
        (&["get"], "<KEY>"),
        (&["get", "a", "b"], "b"),
        (&["get", ""], "key"),
        (&["get", &too_long], "1024"),
        (&["put", "", "value"], "key"),
        (&["put", &too_long, "value"], "1024"),
        (&["delete", ""], "key"),
        (&["locate", ""], "key"),
        (&["--output", "xml", "status"], "xml"),
        (&["--timeout", "0", "status"], "--timeout"),
        (&["--timeout", "soon", "status"], "--timeout"),
        (&["--cluster", "No Name", "status"], "--cluster"),
        (&["import", "no-such-file"], "no-such-file"),
        (&["import", "/"], "directory"),
        (&["export", "/no/such/directory/file"], "/no/such/directory/file"),
    ] {
        cluster.kvclient(args).output().code(2).no_stdout().says(&[word]);
    }
    // As JSON, an error is an object with a code, also when the line is not understood.
    for (args, exit_code, code) in [
        (&["get"][..], 2, "usage"),
        (&["get", "no such key"], 1, "not_found"),
        (&["delete", "no such key"], 1, "not_found"),
        (&["import", "no-such-file"], 2, "usage"),
        (&["put", "key", "value", "--if-version", "1-1"], 4, "conflict"),
        (&["--strategy", "consistent-hash", "get", "key"], 4, "strategy_mismatch"),
    ] {
        let output = cluster.kvclient(&[&["--output", "json"], args].concat()).output();
        let output = output.code(exit_code).no_stdout();
        let error = parse(&output.stderr)["error"].clone();
        assert_eq!(error["code"], code, "{output}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{output}");
    }
}

#[test]
fn every_output_is_json_where_that_is_asked_for() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let json_of = |args: &[&str], stdin: &[u8]| {
        let run = cluster.kvclient(&[&["--output", "json"], args].concat()).stdin(stdin);
        run.output().success().json()
    };
    let stored = json_of(&["put", "key", "value"], b"");
    assert_eq!(stored["key"], "key");
    let version = &stored["version"];
    let read = json_of(&["get", "key"], b"");
    assert_eq!(read, json!({"key": "key", "value": "value", "version": version}));
    json_of(&["put", "binary"], b"\xff\x00");
    let read = json_of(&["get", "binary"], b"");
    assert_eq!(read["value_base64"], "/wA=");
    let located = json_of(&["locate", "key"], b"");
    assert_eq!(located["node"], "node-0");
    let imported = json_of(&["import"], b"{\"key\":\"a\",\"value\":\"b\"}\n");
    assert_eq!(imported["records"], 1);
    let exported = json_of(&["export", "file.ndjson"], b"");
    assert_eq!(exported["records"], 3);
    assert_eq!(json_of(&["delete", "key"], b""), json!({"key": "key", "existed": true}));
}

#[test]
fn values_are_any_bytes() {
    let cluster = Cluster::start(Backend::Embedded, 2);
    let all: Vec<u8> = (0..=255).collect();
    for (name, value) in
        [("all", &all[..]), ("nothing", b""), ("newline", b"\n"), ("text", b"a\r\n")]
    {
        // An empty value has to be asked for.
        let ways = [&["put", name, "-"][..], &["put", name]];
        for args in &ways[..if value.is_empty() { 1 } else { 2 }] {
            cluster.kvclient(args).stdin(value).output().success().no_stdout().no_stderr();
            let output = cluster.kvclient(&["get", name]).output().success().no_stderr();
            assert_eq!(output.stdout, value, "{name}");
        }
    }
    cluster.kvclient(&["put", "empty", ""]).output().success();
    assert_eq!(cluster.kvclient(&["get", "empty"]).output().success().stdout, b"");
    cluster.kvclient(&["put", "dashes", "--", "--if-absent"]).output().success();
    assert_eq!(cluster.kvclient(&["get", "dashes"]).output().stdout, b"--if-absent");
    // An export is an import, whatever is in it.
    let exported = cluster.kvclient(&["export"]).output().success().stdout;
    for name in ["all", "nothing", "newline", "text"] {
        cluster.kvclient(&["delete", name]).output().success();
    }
    cluster.kvclient(&["import"]).stdin(exported).output().success();
    assert_eq!(cluster.kvclient(&["get", "all"]).output().success().stdout, all);
    assert_eq!(cluster.kvclient(&["get", "nothing"]).output().success().stdout, b"");

    let too_large = vec![0; (8 << 20) + 1];
    let output = cluster.kvclient(&["put", "large"]).stdin(too_large).output();
    output.code(4).no_stdout().says(&["8388608"]);
}

#[test]
fn an_import_names_the_line_that_ends_it() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let good = |n: usize| format!("{{\"key\":\"key-{n}\",\"value\":\"value\"}}\n");
    let long_key = format!("{{\"key\":\"{}\",\"value\":\"v\"}}", "k".repeat(1025));
    for (bad, word) in [
        ("{\"key\":\"\",\"value\":\"v\"}", "key"),
        (&long_key, "1024"),
        ("oops", "expected {"),
        ("{\"key\":\"k\"}", "value"),
        ("{\"key\":\"k\",\"value\":1}", "text"),
        ("{\"key\":\"k\",\"value_base64\":\"?\"}", "base64"),
        ("{\"key\":\"k\",\"value\":\"v\",\"ttl\":1}", "ttl"),
    ] {
        let lines = format!("{}{}\n{bad}\n{}", good(1), good(2), good(4));
        let output = cluster.kvclient(&["import"]).stdin(lines).output();
        // Three lines before it: a blank one counts.
        output.code(2).no_stdout().says(&["line 4", word]);
    }
    // A line that is no record ends the reading, so nothing after it is stored.
    let output = cluster.kvclient(&["import"]).stdin(format!("x\n{}", good(5))).output();
    output.code(2).says(&["line 1", "records stored: 0"]);
    cluster.kvclient(&["get", "key-5"]).output().code(1);
    // What came before the bad line is stored, and the message says how much that is.
    let output = cluster.kvclient(&["import"]).stdin(format!("{}{}x", good(7), good(8))).output();
    output.code(2).says(&["line 3", "records stored: 2"]);
    cluster.kvclient(&["get", "key-8"]).output().success();
    let blank = cluster.kvclient(&["import"]).stdin("\n\n").output();
    blank.success().says(&["stored 0 records"]);
}

#[test]
fn later_lines_of_an_import_win() {
    let cluster = Cluster::start(Backend::Embedded, 2);
    let lines: Vec<Line> = (0..5000).map(|n| (format!("key-{}", n % 3), n.to_string())).collect();
    cluster.kvclient(&["import"]).stdin(ndjson(&lines)).output().success();
    for (key, value) in &lines[4997..] {
        assert_eq!(cluster.kvclient(&["get", key]).output().success().stdout_text(), value);
    }
}

#[test]
fn a_reader_that_has_enough_ends_an_export_quietly() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let lines: Vec<Line> = (0..5000).map(|n| (format!("key-{n}"), "v".repeat(200))).collect();
    cluster.kvclient(&["import"]).stdin(ndjson(&lines)).output().success();
    for command in ["export", "get-all"] {
        let mut child = Command::new(binaries::kvclient())
            .args(["--consul", &cluster.consul(), "--cluster", cluster.name(), command])
            .current_dir(cluster.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kvclient runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::with_capacity(100, stdout).read_line(&mut line).expect("a line comes");
        // The pipe is closed now, as `head -1` would.
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn a_full_output_is_an_error() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    for command in [&["get", "key"][..], &["export"], &["status"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let output = Command::new(binaries::kvclient())
            .args(["--consul", &cluster.consul(), "--cluster", cluster.name()])
            .args(command)
            .current_dir(cluster.directory())
            .stdout(full)
            .output()
            .expect("kvclient runs");
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("standard output cannot be written"), "{text}");
    }
    let output = cluster.kvclient(&["export", "/dev/full"]).output();
    output.code(2).no_stdout().says(&["/dev/full cannot be written"]);
}

#[test]
fn an_export_replaces_its_file_only_when_it_is_whole() {
    let mut cluster = Cluster::start(Backend::Embedded, 2);
    let lines: Vec<Line> = (0..100).map(|n| (format!("key-{n}"), "value".to_owned())).collect();
    cluster.kvclient(&["import"]).stdin(ndjson(&lines)).output().success();
    cluster.kvclient(&["export", "all.ndjson"]).output().success();
    let file = cluster.directory().join("all.ndjson");
    let before = std::fs::read(&file).expect("it was written");
    cluster.node_mut(1).kill();
    let output = cluster.kvclient(&["--timeout", "2", "export", "all.ndjson"]).output();
    output.code(3).no_stdout().says(&["node-1"]);
    assert_eq!(std::fs::read(&file).expect("it is there"), before);
    let output = cluster.kvclient(&["--timeout", "2", "status"]).output().success();
    assert!(output.stdout_text().contains("node-1"), "{output}");
}
