//! The Consul client against servers that are not Consul, or are sick: every answer gives a clear
//! error in bounded time, and never a panic.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_consul::{
    Consul, ConsulConfig, ConsulError, KEY_BYTES_MAX, RESPONSE_BYTES_MAX, Read, VALUE_BYTES_MAX,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long the client waits in these tests.
const TIMEOUT: Duration = Duration::from_millis(300);

/// No case may take longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

const KEY: &str = "kv/default/layout";

/// A server that handles each connection with a function, until it is dropped.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start<H>(handle: impl Fn(TcpStream) -> H + Send + 'static) -> Self
    where
        H: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(stream));
            }
        });
        Self { address, task }
    }

    /// A server that reads a request, sends `bytes` and closes the connection.
    async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    fn consul(&self) -> Consul {
        consul(&self.address.to_string(), TIMEOUT)
    }
}

fn consul(address: &str, timeout: Duration) -> Consul {
    let config = ConsulConfig::resolve_with(Some(address), |_| None).unwrap();
    Consul::new(&config.with_request_timeout(timeout)).unwrap()
}

/// Reads up to the end of the request's head.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An answer with a correct head.
fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nX-Consul-Index: 7\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The error of reading a key, which must come soon.
async fn get_error(consul: &Consul) -> ConsulError {
    let got = tokio::time::timeout(PATIENCE, consul.kv_get(KEY, Read::default()));
    got.await.expect("the client hangs").expect_err("the answer must not be accepted")
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_the_message_helps() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = get_error(&consul(&address, TIMEOUT)).await;
    assert!(matches!(error, ConsulError::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
    let message = error.to_string();
    for part in [address.as_str(), "refused", "kvnode dev", "CONSUL_HTTP_ADDR"] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_unreachable() {
    let error = get_error(&consul("no-such-host.invalid", PATIENCE)).await;
    assert!(matches!(error, ConsulError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_http_or_breaks_off_is_an_interruption() {
    for bytes in [
        "",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/9.9 99 ?\r\n\r\n",
    ] {
        let server = Server::answering(bytes).await;
        let error = get_error(&server.consul()).await;
        assert!(matches!(error, ConsulError::Interrupted { .. }), "{bytes:?} gave {error:?}");
        let message = error.to_string();
        assert!(message.contains("/v1/kv/kv/default/layout"), "{message}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_or_stops_halfway_is_timed_out() {
    for bytes in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"] {
        let server = Server::start(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(bytes.as_bytes()).await;
            // Hold the connection open until the client gives up.
            let _ = stream.read_u8().await;
        })
        .await;
        let started = Instant::now();
        let error = get_error(&server.consul()).await;
        assert!(matches!(error, ConsulError::Timeout { .. }), "{bytes:?} gave {error:?}");
        assert!(started.elapsed() >= TIMEOUT);
    }
}

#[tokio::test]
async fn a_blocking_query_is_given_its_wait_on_top_of_the_timeout() {
    let wait = TIMEOUT * 2;
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.read_u8().await;
    })
    .await;
    let started = Instant::now();
    let read = Read::default().after(1, wait);
    let error = server.consul().kv_get(KEY, read).await.unwrap_err();
    assert!(matches!(error, ConsulError::Timeout { .. }), "{error:?}");
    assert!(started.elapsed() >= wait + wait / 16 + TIMEOUT);
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_the_limit() {
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\n\r\n").await;
        let spaces = vec![b' '; 1 << 16];
        while stream.write_all(&spaces).await.is_ok() {}
    })
    .await;
    let error = get_error(&consul(&server.address.to_string(), PATIENCE)).await;
    let ConsulError::AnswerTooLarge { limit_bytes, .. } = error else { panic!("{error:?}") };
    assert_eq!(limit_bytes, RESPONSE_BYTES_MAX);
}

#[tokio::test]
async fn an_answer_just_below_the_limit_is_read() {
    let body = format!("{}[]", " ".repeat(RESPONSE_BYTES_MAX - 2));
    let server = Server::answering(answer("200 OK", &body)).await;
    let consul = consul(&server.address.to_string(), PATIENCE);
    assert_eq!(consul.kv_get(KEY, Read::default()).await.unwrap().value, None);
}

#[tokio::test]
async fn a_failure_status_is_reported_with_an_excerpt() {
    let server = Server::answering(answer("500 Oh", "rpc error: No cluster leader")).await;
    let error = get_error(&server.consul()).await;
    assert!(matches!(error, ConsulError::Status { status: 500, .. }), "{error:?}");
    assert!(error.to_string().contains("No cluster leader"));
    assert!(error.is_transient());

    let server = Server::answering(answer("403 Forbidden", "Permission denied")).await;
    let error = get_error(&server.consul()).await;
    assert!(matches!(error, ConsulError::PermissionDenied { .. }), "{error:?}");
    assert!(error.to_string().contains("CONSUL_HTTP_TOKEN"));
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_redirect_is_not_followed_so_that_no_token_leaves() {
    let bytes = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let server = Server::answering(bytes).await;
    let error = get_error(&server.consul()).await;
    assert!(matches!(error, ConsulError::Status { status: 302, .. }), "{error:?}");
}

#[tokio::test]
async fn a_404_of_a_stranger_is_not_taken_for_a_missing_key() {
    let server = Server::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let error = get_error(&server.consul()).await;
    assert!(matches!(error, ConsulError::Status { status: 404, .. }), "{error:?}");
}

#[tokio::test]
async fn json_of_another_shape_is_an_unexpected_answer() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{}",
        "<html>",
        "null",
        "[1]",
        "[{\"Key\":\"a\"}]",
        "[{\"Key\":\"a\",\"Value\":\"!\",\"LockIndex\":0,\"CreateIndex\":1,\"ModifyIndex\":1}]",
        "[{\"Key\":\"a\",\"Value\":\"\",\"LockIndex\":-1,\"CreateIndex\":1,\"ModifyIndex\":1}]",
        "\u{fffd}\u{1b}[2J",
        deep.as_str(),
    ] {
        let server = Server::answering(answer("200 OK", body)).await;
        let consul = server.consul();
        let error = get_error(&consul).await;
        assert!(matches!(error, ConsulError::UnexpectedAnswer { .. }), "{body:.30?}: {error:?}");
        assert!(error.to_string().len() < 1_000, "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error:?}");

        let error = consul.kv_put_cas(KEY, b"x", 0).await.unwrap_err();
        assert!(matches!(error, ConsulError::UnexpectedAnswer { .. }), "{body:.30?}: {error:?}");
        let error = consul.service_instances("kv", Read::default()).await.unwrap_err();
        assert!(matches!(error, ConsulError::UnexpectedAnswer { .. }), "{body:.30?}: {error:?}");
    }
}

#[tokio::test]
async fn a_read_without_an_index_is_an_unexpected_answer() {
    for index in ["", "X-Consul-Index: -3\r\n", "X-Consul-Index: many\r\n"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{index}Content-Length: 2\r\n\r\n[]");
        let server = Server::answering(bytes).await;
        let error = get_error(&server.consul()).await;
        assert!(error.to_string().contains("X-Consul-Index"), "{index:?} gave {error}");
    }
}

#[tokio::test]
async fn what_consul_would_refuse_is_not_sent() {
    // No process listens there: an error other than Unreachable proves that nothing was sent.
    let consul = consul("127.0.0.1:1", TIMEOUT);
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for key in ["", "/a", "a//b", "a b", "A", "a.b", "../a", "a%2fb", "\u{e9}", long.as_str()] {
        let error = consul.kv_get(key, Read::default()).await.unwrap_err();
        assert!(matches!(error, ConsulError::InvalidName { .. }), "{key:?} gave {error:?}");
        assert!(consul.watch_prefix(key).is_err(), "{key:?}");
    }
    let error = consul.kv_put(KEY, &vec![0; VALUE_BYTES_MAX + 1]).await.unwrap_err();
    assert!(matches!(error, ConsulError::ValueTooLarge { .. }), "{error:?}");
    for id in ["", ".", "..", "a/b", "a b", "a?b"] {
        let error = consul.check_pass(id, "").await.unwrap_err();
        assert!(matches!(error, ConsulError::InvalidName { .. }), "{id:?} gave {error:?}");
    }

    let longest = "k".repeat(KEY_BYTES_MAX);
    let error = consul.kv_put(&longest, &vec![0; VALUE_BYTES_MAX]).await.unwrap_err();
    assert!(matches!(error, ConsulError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn settings_reach_the_server_as_headers() {
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let heads = heads.clone();
        async move {
            let _ = heads.send(read_head(&mut stream).await);
            let _ = stream.write_all(answer("200 OK", "\"\"").as_bytes()).await;
        }
    })
    .await;
    let address = format!("http://{}/under/a/path/", server.address);
    let config = ConsulConfig::resolve_with(Some(&address), |name| match name {
        "CONSUL_HTTP_TOKEN" => Some("secret".to_owned()),
        "CONSUL_HTTP_AUTH" => Some("user:password".to_owned()),
        _ => None,
    })
    .unwrap();
    assert_eq!(Consul::new(&config).unwrap().leader().await.unwrap(), None);
    let head = seen.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /under/a/path/v1/status/leader http/1.1\r\n"), "{head}");
    assert!(head.contains("x-consul-token: secret\r\n"), "{head}");
    assert!(head.contains("authorization: basic dxnlcjpwyxnzd29yza==\r\n"), "{head}");
}

#[tokio::test]
async fn a_watch_survives_a_server_that_fails_and_comes_back() {
    let sick = Arc::new(AtomicBool::new(true));
    let state = sick.clone();
    let server = Server::start(move |mut stream| {
        let sick = state.load(Ordering::SeqCst);
        async move {
            read_head(&mut stream).await;
            if !sick {
                let _ = stream.write_all(answer("200 OK", "[]").as_bytes()).await;
            }
        }
    })
    .await;
    let mut watch = server.consul().watch_kv(KEY).unwrap();
    assert!(matches!(watch.next().await, Err(ConsulError::Interrupted { .. })));

    sick.store(false, Ordering::SeqCst);
    let news = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!((news.index, news.value), (7, None));
}
