//! What only the embedded agent does: it keeps its keys, and it must be stopped and started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use kv_consul::{CheckStatus, Consul, ConsulError, Read, SessionBehavior, SessionRequest};
use kv_consul_agent::{Agent, AgentConfig, AgentError, AgentLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::agent::registration;
use crate::server::{PATIENCE, consul_at};

async fn start(directory: &Path) -> Result<Agent, AgentError> {
    start_at((Ipv4Addr::LOCALHOST, 0).into(), directory).await
}

async fn start_at(listen: SocketAddr, directory: &Path) -> Result<Agent, AgentError> {
    start_with(listen, directory, AgentLimits::default()).await
}

async fn start_with(
    listen: SocketAddr,
    directory: &Path,
    limits: AgentLimits,
) -> Result<Agent, AgentError> {
    Agent::start(AgentConfig { listen, data_dir: directory.to_owned(), limits }).await
}

fn client(agent: &Agent) -> Consul {
    consul_at(&agent.address().to_string())
}

#[tokio::test]
async fn keys_survive_a_restart_and_services_and_locks_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let consul = client(&agent);
    consul.kv_put("a", &[0, 255]).await.unwrap();
    consul.register(&registration("kv", "node-0")).await.unwrap();
    let session = SessionRequest {
        name: String::new(),
        ttl: Duration::from_secs(10),
        lock_delay: Duration::ZERO,
        behavior: SessionBehavior::Release,
    };
    let session = consul.session_create(&session).await.unwrap();
    assert!(consul.kv_acquire("lock", b"", &session).await.unwrap());
    let kept = consul.kv_get("a", Read::default()).await.unwrap();
    let indexes = indexes(&consul).await;
    agent.shutdown().await;

    let agent = start(directory.path()).await.unwrap();
    let consul = client(&agent);
    assert_eq!(consul.kv_get("a", Read::default()).await.unwrap(), kept);
    let lock = consul.kv_get("lock", Read::default()).await.unwrap().value.unwrap();
    assert_eq!((lock.session, lock.lock_index), (None, 1));
    assert!(!consul.session_renew(&session).await.unwrap());
    let error = consul.check_pass("node-0", "").await.unwrap_err();
    assert!(matches!(error, ConsulError::UnknownCheck { .. }), "{error:?}");
    for (before, after) in indexes.into_iter().zip(self::indexes(&consul).await) {
        assert!(after >= before, "an index went from {before} to {after}");
    }
    agent.shutdown().await;
}

/// What the different kinds of queries wait on.
async fn indexes(consul: &Consul) -> [u64; 4] {
    let read = Read::default();
    [
        consul.kv_get("missing", read).await.unwrap().index,
        consul.kv_list("a", read).await.unwrap().index,
        consul.service_instances("kv", read).await.unwrap().index,
        consul.service_instances("missing", read).await.unwrap().index,
    ]
}

#[tokio::test]
async fn a_watch_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let address = agent.address();
    let consul = client(&agent);
    let mut watch = consul.watch_kv("a").unwrap();
    assert_eq!(watch.next().await.unwrap().value, None);
    agent.shutdown().await;
    assert!(watch.next().await.is_err(), "the outage is reported");

    let agent = start_at(address, directory.path()).await.unwrap();
    let news = tokio::spawn(async move {
        loop {
            // Another kind of error may be seen on the way; each is reported once.
            if let Ok(news) = watch.next().await {
                return news.value.unwrap().value;
            }
        }
    });
    consul.kv_put("a", b"1").await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, news).await.unwrap().unwrap(), b"1");
    agent.shutdown().await;
}

#[tokio::test]
async fn a_taken_port_and_a_held_directory_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let error = start_at(agent.address(), other.path()).await.unwrap_err();
    assert!(matches!(error, AgentError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&agent.address().to_string()), "{error}");
    let error = start(directory.path()).await.unwrap_err();
    assert!(matches!(error, AgentError::Held { .. }), "{error:?}");
    agent.shutdown().await;
    start(directory.path()).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_damaged_state_is_reported_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    client(&agent).kv_put("a", b"1").await.unwrap();
    agent.shutdown().await;
    let file = directory.path().join("state.json");
    let mut content = std::fs::read(&file).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    std::fs::write(&file, &content).unwrap();
    let error = start(directory.path()).await.unwrap_err();
    assert!(matches!(error, AgentError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read(&file).unwrap(), content);
}

#[tokio::test]
async fn a_write_that_cannot_be_kept_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let consul = client(&agent);
    consul.kv_put("a", b"1").await.unwrap();
    // A directory in the place of the new file makes the write fail for every user.
    let obstacle = directory.path().join("state.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let error = consul.kv_put("a", b"2").await.unwrap_err();
    assert!(matches!(error, ConsulError::Status { status: 500, .. }), "{error:?}");
    assert!(error.to_string().contains("cannot write its state"), "{error}");
    let entry = consul.kv_get("a", Read::default()).await.unwrap().value.unwrap();
    assert_eq!(entry.value, b"1");
    std::fs::remove_dir(&obstacle).unwrap();
    consul.kv_put("a", b"2").await.unwrap();
    agent.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_answers_those_who_wait_and_does_not_wait_for_those_who_dawdle() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let consul = client(&agent);
    consul.register(&registration("kv", "node-0")).await.unwrap();
    let before = consul.service_instances("kv", Read::default()).await.unwrap();
    assert_eq!(before.value[0].status, CheckStatus::Critical);
    let waiting = tokio::spawn({
        let consul = consul.clone();
        let read = Read::default().after(before.index, Duration::from_secs(600));
        async move { consul.service_instances("kv", read).await }
    });
    // A request that never ends, and a peer that never begins.
    let mut dawdler = TcpStream::connect(agent.address()).await.unwrap();
    dawdler.write_all(b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
    let mut silent = TcpStream::connect(agent.address()).await.unwrap();

    let started = Instant::now();
    agent.shutdown().await;
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    // The query was under way or had not been taken up: an answer, or a clear error.
    match tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap() {
        Ok(answer) => assert_eq!(answer, before),
        Err(error) => assert!(error.is_transient(), "{error:?}"),
    }
    // The directory is free although the dawdler is still connected.
    start(directory.path()).await.unwrap().shutdown().await;
    dawdler.write_all(b"xxxxxxxx").await.unwrap_or_default();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, dawdler.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("true"), "{answer:?}");
    drop(silent.shutdown().await);
}

/// What the agent at `address` answers to these bytes, which may be anything.
async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may have heard enough before the end.
    let _ = stream.write_all(request.as_ref()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the agent answers or hangs up");
    String::from_utf8_lossy(&answer).into_owned()
}

fn put_request(path: &str, body: &str) -> String {
    format!("PUT {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_the_agent_cannot_do_is_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let (register, session) = ("/v1/agent/service/register", "/v1/session/create");
    let http_check = r#"{"Name":"x","Check":{"HTTP":"http://x","Interval":"1s"}}"#;
    let body_limit = 64 * 1024;
    let blanks = " ".repeat(body_limit);
    let key = |length| put_request(&format!("/v1/kv/{}", "k".repeat(length)), "x");
    for (request, status, hint) in [
        ("GET /v1/acl/tokens HTTP/1.0\r\n\r\n".to_owned(), 404, "kvnode dev"),
        ("GET /v1/health/service/kv?filter=x HTTP/1.0\r\n\r\n".to_owned(), 400, "filter"),
        (put_request(register, http_check), 400, "http"),
        (put_request(register, r#"{"Name":"x","Check":{}}"#), 400, "TTL"),
        (put_request(register, r#"{"Name":"x","Check":{"TTL":"0s"}}"#), 400, "TTL"),
        (put_request(session, &blanks), 400, "decode failed"),
        (put_request(session, &format!("{blanks} ")), 413, "65536"),
        (key(2_048), 200, "true"),
        (key(2_049), 400, "2048"),
    ] {
        let answer = ask(agent.address(), &request).await;
        let head = answer.lines().next().unwrap_or_default();
        assert!(head.contains(&format!(" {status} ")), "{request:.80} gave {answer}");
        assert!(answer.contains(hint), "{request:.80} gave {answer}");
    }
    agent.shutdown().await;
}

#[tokio::test]
async fn nothing_that_is_sent_brings_the_agent_down() {
    let directory = tempfile::tempdir().unwrap();
    let agent = start(directory.path()).await.unwrap();
    let (register, session) = ("/v1/agent/service/register", "/v1/session/create");
    let deep = format!(r#"{{"Name":{}"#, "[".repeat(60_000));
    for (request, status) in [
        (b"GET /v1/kv/%ff%fe HTTP/1.0\r\n\r\n".to_vec(), 400),
        (b"GET /v1/kv/% HTTP/1.0\r\n\r\n".to_vec(), 404),
        (b"GET /v1/kv/a?index=99999999999999999999999 HTTP/1.0\r\n\r\n".to_vec(), 400),
        (b"GET /v1/kv/?keys&separator= HTTP/1.0\r\n\r\n".to_vec(), 404),
        (put_request("/v1/kv/a?cas=18446744073709551615", "x").into(), 200),
        (put_request("/v1/kv/a?flags=18446744073709551616", "x").into(), 500),
        (put_request(register, &deep).into(), 400),
        (put_request(register, r#"{"Name":"x","Check":{"TTL":"2562047h"}}"#).into(), 200),
        (put_request(register, r#"{"Name":"x","Check":{"TTL":"2562048h"}}"#).into(), 400),
        (put_request(session, r#"{"LockDelay":-1.5e300}"#).into(), 400),
        (put_request(session, r#"{"TTL":"9999999999h"}"#).into(), 500),
    ] {
        let answer = ask(agent.address(), &request).await;
        let head = answer.lines().next().unwrap_or_default();
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]);
        assert!(head.contains(&format!(" {status} ")), "{shown} gave {answer}");
    }
    // The agent may hang up before it has read all of these, so what it says may be lost.
    for flood in [
        vec![0xff; 100_000],
        format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(1 << 20)).into(),
        format!("GET / HTTP/1.0\r\n{}\r\n", "h: x\r\n".repeat(10_000)).into(),
    ] {
        let answer = ask(agent.address(), &flood).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    for unfinished in [
        "",
        "GET /v1/kv/a HTT",
        "PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\nx",
        "PUT /v1/kv/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ] {
        let mut stream = TcpStream::connect(agent.address()).await.unwrap();
        stream.write_all(unfinished.as_bytes()).await.unwrap();
    }

    // A session with the longest lock delay can be ended.
    let consul = client(&agent);
    let body = r#"{"LockDelay":18446744073709551615}"#;
    let answer = ask(agent.address(), put_request(session, body)).await;
    let id = answer.split('"').nth(3).unwrap();
    assert!(consul.kv_acquire("lock", b"", id).await.unwrap());
    consul.session_destroy(id).await.unwrap();
    agent.shutdown().await;
}
