//! A Consul that lets not everybody do everything: what a token may not do is said, before anything has
//! changed, and a token that is replaced is taken.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use kv_testkit::consul::RealConsul;
use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::desired_states::HEEDED_WITHIN;
use kv_testkit::harness::environment::isolate;
use kv_testkit::harness::eventually;
use kv_testkit::harness::process::Process;
use kv_testkit::harness::run::{Output, Run};
use kv_testkit::needs;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The token that may do everything.
const ROOT: &str = "11111111-2222-3333-4444-555555555555";

/// What nodes and movers need.
const FULL: [&str; 4] = [
    r#"key_prefix "kv/" { policy = "write" }"#,
    r#"service_prefix "" { policy = "write" }"#,
    r#"node_prefix "" { policy = "read" }"#,
    r#"session_prefix "" { policy = "write" }"#,
];

/// A Consul that denies what it is not told to allow, with two nodes and some keys.
struct Closed {
    consul: RealConsul,
    nodes: Vec<Process>,
    directory: TempDir,
}

/// A token.
struct Token {
    secret: String,
    accessor: String,
    policy: String,
}

impl Closed {
    fn start() -> Self {
        let consul = RealConsul::start_closed(ROOT);
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self { consul, nodes: Vec::new(), directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(self.consul.address()).expect("Consul listens");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nX-Consul-Token: {ROOT}\r\n");
        let request = format!("{head}content-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).expect("Consul reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("Consul answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(" 200 "), "{method} {path}: {answer}");
        serde_json::from_str(body).expect("it is JSON")
    }

    /// A token that may do what `rules` say.
    fn token(&self, rules: &[&str]) -> Token {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("policy-{number}");
        let policy = json!({"Name": name, "Rules": rules.join("\n")});
        let policy = self.ask("PUT", "/v1/acl/policy", &policy)["ID"].clone();
        let policy = policy.as_str().expect("it is text").to_owned();
        let token = self.ask("PUT", "/v1/acl/token", &json!({"Policies": [{"Name": name}]}));
        let text = |name: &str| token[name].as_str().expect("it is text").to_owned();
        Token { secret: text("SecretID"), accessor: text("AccessorID"), policy }
    }

    /// Gives a token other rules.
    fn change(&self, token: &Token, rules: &[&str]) {
        let path = format!("/v1/acl/policy/{}", token.policy);
        let name = self.ask("GET", &path, &Value::Null)["Name"].clone();
        let policy = json!({"ID": token.policy, "Name": name, "Rules": rules.join("\n")});
        self.ask("PUT", &path, &policy);
    }

    fn revoke(&self, token: &Token) {
        self.ask("DELETE", &format!("/v1/acl/token/{}", token.accessor), &Value::Null);
    }

    /// Starts a node with a variable about the token.
    fn start_node(&mut self, variable: (&str, &str)) {
        let id = format!("node-{}", self.nodes.len());
        let mut command = Command::new(kvnode());
        isolate(&mut command, self.path());
        command
            .args(["--consul", &self.consul.address().to_string(), "--id", &id, "--port", "0"])
            .arg("--data-dir")
            .arg(self.path().join("nodes"))
            .env(variable.0, variable.1);
        let log = self.path().join(format!("{id}.log"));
        let mut process = Process::start(&id, &mut command, &log);
        process.wait_for_line("ready: ");
        self.nodes.push(process);
    }

    fn kvclient(&self, variable: (&str, &str), args: &[&str]) -> Output {
        Run::new(kvclient(), self.path())
            .args(["--output", "json", "--consul", &self.consul.address().to_string()])
            .args(args)
            .env(variable.0, variable.1)
            .output()
    }

    /// Runs a command with a token.
    fn with(&self, token: &str, args: &[&str]) -> Output {
        self.kvclient(("CONSUL_HTTP_TOKEN", token), args)
    }

    fn layout(&self) -> Value {
        self.with(ROOT, &["status"]).success().json()["layout"].clone()
    }
}

/// Checks with which code a command failed, and that it says what helps.
#[track_caller]
fn assert_fails(output: Output, exit_code: i32, code: &str, words: &[&str]) {
    let output = output.code(exit_code).says(words);
    let said = output.stderr_text();
    let last = said.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).expect("the last line is JSON");
    assert_eq!(error["error"]["code"], code, "{output}");
}

#[needs(consul)]
#[test]
fn what_a_token_may_not_do_is_said_and_changes_nothing() {
    let mut closed = Closed::start();
    let full = closed.token(&FULL);
    for _ in 0..2 {
        closed.start_node(("CONSUL_HTTP_TOKEN", &full.secret));
    }
    closed.with(&full.secret, &["put", "key", "value"]).success();
    let before = closed.layout();

    let no_session = closed.token(&FULL[..3]);
    for change in [&["remove-node", "node-1"][..], &["migrate", "--to", "maglev"]] {
        let refused = closed.with(&no_session.secret, change);
        assert_fails(refused, 4, "consul_denied", &["session_prefix", "Permission denied"]);
        assert_eq!(closed.layout(), before, "{change:?} has begun nothing");
    }
    // Nor is one that others have begun turned back by who could not move anything back.
    let full_env = Run::new(kvclient(), closed.path())
        .args(["--consul", &closed.consul.address().to_string(), "migrate", "--to", "maglev"])
        .env("CONSUL_HTTP_TOKEN", &full.secret)
        .env("FAILPOINTS", "mover::after-begin=return");
    assert_eq!(full_env.output().status.code(), None, "it is killed when it has begun");
    let begun = closed.layout();
    let refused = closed.with(&no_session.secret, &["rebalance", "abort"]);
    assert_fails(refused, 4, "consul_denied", &["session_prefix"]);
    assert_eq!(closed.layout(), begun);
    closed.with(&full.secret, &["rebalance", "abort"]).success();
    let before = closed.layout();

    let reader = closed.token(&[
        r#"key_prefix "kv/" { policy = "read" }"#,
        r#"service_prefix "" { policy = "read" }"#,
        r#"node_prefix "" { policy = "read" }"#,
    ]);
    closed.with(&reader.secret, &["get", "key"]).success();
    let refused = closed.with(&reader.secret, &["migrate", "--to", "maglev"]);
    assert_fails(refused, 4, "consul_denied", &["Permission denied"]);

    let blind = closed.token(&[FULL[0], FULL[1], FULL[3]]);
    let unaware = closed.token(&[FULL[0], FULL[2], FULL[3]]);
    for token in [&blind, &unaware] {
        for command in [
            &["get", "key"][..],
            &["remove-node", "node-1"],
            &["remove-node", "--dead", "node-1", "--accept-data-loss"],
        ] {
            let refused = closed.with(&token.secret, command);
            let words = ["does not show this client all", "node_prefix", "service_prefix"];
            assert_fails(refused, 4, "consul_nodes_hidden", &words);
        }
        let status = closed.with(&token.secret, &["status"]).success();
        let problem = status.json()["nodes"][0]["problem"].clone();
        assert!(problem.as_str().is_some_and(|it| it.contains("node_prefix")), "{status}");
    }

    // A node is refused as clients are.
    let node = |secret: &str| {
        let run = Run::new(kvnode(), closed.path()).env("CONSUL_HTTP_TOKEN", secret);
        let run = run.args(["--consul", &closed.consul.address().to_string(), "--port", "0"]);
        run.arg_path("--data-dir", &closed.path().join("refused")).output()
    };
    for secret in ["", &reader.secret] {
        node(secret).code(4).no_stdout().says(&["403", "CONSUL_HTTP_TOKEN"]);
    }

    closed.revoke(&full);
    node(&full.secret).code(4).no_stdout().says(&["was revoked"]);
    let refused = closed.with(&full.secret, &["get", "key"]);
    assert_fails(refused, 4, "consul_token_unknown", &["was revoked", "CONSUL_HTTP_TOKEN"]);
    assert_fails(closed.with("", &["get", "key"]), 4, "consul_denied", &["key_prefix"]);
    assert_eq!(closed.layout(), before);
}

#[needs(consul)]
#[test]
fn a_node_that_a_token_does_not_show_is_not_taken_for_dead() {
    let mut closed = Closed::start();
    let full = closed.token(&FULL);
    for _ in 0..2 {
        closed.start_node(("CONSUL_HTTP_TOKEN", &full.secret));
    }
    closed.with(&full.secret, &["put", "key", "value"]).success();
    // One node lies on a machine that the token may see, and the other one on another.
    let known = closed.ask("GET", "/v1/agent/service/node-0", &Value::Null);
    let mut service = json!({});
    for name in ["ID", "Service", "Address", "Port", "Meta"] {
        service[name] = known[name].clone();
    }
    let seen = json!({"Node": "elsewhere", "Address": "127.0.0.1", "Service": service});
    closed.ask("PUT", "/v1/catalog/register", &seen);
    let one_machine = r#"node "elsewhere" { policy = "read" }"#;
    let short_sighted = closed.token(&[FULL[0], FULL[1], one_machine, FULL[3]]);
    let before = closed.layout();
    let give_up = ["remove-node", "--dead", "node-1", "--accept-data-loss"];
    for command in [&give_up[..], &["remove-node", "node-0"]] {
        let refused = closed.with(&short_sighted.secret, command);
        let refused = refused.code(4).says(&["consul_nodes_hidden", "node_prefix"]);
        assert!(!refused.stderr_text().contains("--dead"), "{refused}");
    }
    // Nor while a rebalance is under way, which giving a node up would end.
    let mover = Run::new(kvclient(), closed.path())
        .args(["--consul", &closed.consul.address().to_string(), "migrate", "--to", "maglev"])
        .env("CONSUL_HTTP_TOKEN", &full.secret)
        .env("FAILPOINTS", "mover::after-prepare=return");
    assert_eq!(mover.output().status.code(), None, "it is killed");
    let refused = closed.with(&short_sighted.secret, &give_up);
    refused.code(4).says(&["consul_nodes_hidden"]);
    closed.with(&full.secret, &["rebalance", "abort"]).success();
    assert_eq!(closed.layout()["strategy"], before["strategy"]);
    closed.with(&full.secret, &["get", "key"]).success();
}

#[needs(consul)]
#[test]
fn a_change_whose_end_a_token_may_not_do_is_not_begun_and_one_that_loses_it_says_what_is_left() {
    let mut closed = Closed::start();
    let full = closed.token(&FULL);
    for _ in 0..3 {
        closed.start_node(("CONSUL_HTTP_TOKEN", &full.secret));
    }
    closed.with(&full.secret, &["put", "key", "value"]).success();
    let before = closed.layout();
    for part in ["desired/", "leaving", "layout"] {
        let deny = format!(r#"key_prefix "kv/default/{part}" {{ policy = "read" }}"#);
        let token = closed.token(&[FULL[0], &deny, FULL[1], FULL[2], FULL[3]]);
        for change in [&["remove-node", "node-1"][..], &["add-node"]] {
            let refused = closed.with(&token.secret, change);
            let refused = refused.code(4).says(&["consul_denied", part, "nothing was changed"]);
            let said = refused.stderr_text();
            assert!(!said.contains("signalled") && !said.contains("taken back"), "{refused}");
            assert_eq!(closed.layout(), before, "{part}: {change:?} has begun nothing");
        }
    }

    // A token that loses the right to tell nodes to stop once the data has moved, and one that is gone then.
    let deny = r#"key_prefix "kv/default/desired/" { policy = "read" }"#;
    let denied = [FULL[0], deny, FULL[1], FULL[2], FULL[3]];
    let words = ["node-1, which own nothing", "could not be told to stop", "rebalance resume"];
    remove_while(&closed, "node-1", |token| closed.change(token, &denied), "left_to_do", &words);
    let stopped = |closed: &mut Closed, number: usize| {
        closed.with(&full.secret, &["rebalance", "resume"]).success();
        let end = closed.nodes[number].wait();
        assert_eq!(end.code(), Some(0), "it was told to stop\n{}", closed.nodes[number].log());
    };
    stopped(&mut closed, 1);
    let words = ["was begun", "kvclient status", "rebalance resume"];
    let code = "consul_token_unknown";
    remove_while(&closed, "node-2", |token| closed.revoke(token), code, &words);
    stopped(&mut closed, 2);
    closed.with(&full.secret, &["get", "key"]).success();
}

/// Removes a node with a token to which something happens once the data has moved, and checks what is said.
#[track_caller]
fn remove_while(
    closed: &Closed,
    node: &str,
    happens: impl FnOnce(&Token),
    code: &str,
    words: &[&str],
) {
    let token = closed.token(&FULL);
    let before = closed.layout();
    let removing = Run::new(kvclient(), closed.path())
        .args(["--output", "json", "--consul", &closed.consul.address().to_string()])
        .args(["remove-node", node])
        .env("CONSUL_HTTP_TOKEN", &token.secret)
        .env("FAILPOINTS", "mover::after-settle=sleep(8000)")
        .spawn();
    eventually("the end of the moving", HEEDED_WITHIN, || {
        let layout = closed.layout();
        let is_over = layout["rebalance"].is_null() && layout["epoch"] != before["epoch"];
        if is_over { Ok(()) } else { Err(layout.to_string()) }
    });
    happens(&token);
    assert_fails(removing.output(), 4, code, words);
}

#[needs(consul)]
#[test]
fn a_token_that_is_replaced_in_its_file_is_taken() {
    let mut closed = Closed::start();
    let (old, new) = (closed.token(&FULL), closed.token(&FULL));
    let file = closed.path().join("token");
    fs::write(&file, format!("{}\n", old.secret)).expect("a file can be written");
    let variable = ("CONSUL_HTTP_TOKEN_FILE", file.to_str().expect("the path is text").to_owned());
    let variable = (variable.0, &*variable.1);
    closed.start_node(variable);
    closed.kvclient(variable, &["put", "key", "value"]).success();

    fs::write(&file, format!("{}\n", new.secret)).expect("a file can be written");
    closed.revoke(&old);
    closed.kvclient(variable, &["get", "key"]).success();
    eventually("the node to register under the new token", HEEDED_WITHIN, || {
        let log = closed.nodes[0].log();
        if log.contains("registering again") { Ok(()) } else { Err(log) }
    });
    closed.kvclient(variable, &["put", "key", "other"]).success();
    // It is told of under the new token, so it can be taken out under it.
    closed.nodes[0].signal(Signal::TERM);
    assert_eq!(closed.nodes[0].wait().code(), Some(0));
    eventually("the node to be gone from the catalog", HEEDED_WITHIN, || {
        let entries = closed.ask("GET", "/v1/health/service/kv", &Value::Null);
        if entries.as_array().is_some_and(Vec::is_empty) {
            Ok(())
        } else {
            Err(entries.to_string())
        }
    });
}
