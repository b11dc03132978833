//! Who the embedded agent does not hear, and what it does not wait for.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use kv_consul_agent::{Agent, AgentConfig, AgentLimits};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{PATIENCE, consul_at};

/// Long enough for any of its answers, and short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

async fn start(limits: AgentLimits) -> (Agent, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let config = AgentConfig { listen, data_dir: directory.path().to_owned(), limits };
    (Agent::start(config).await.unwrap(), directory)
}

/// The status that the agent answers with; `None` where it hangs up without a word.
async fn status(address: SocketAddr, request: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may hang up before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    status_of(&mut stream).await
}

/// The status of the answer that comes before the agent hangs up.
async fn status_of(stream: &mut TcpStream) -> Option<u16> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the agent answers or hangs up");
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_web_page_is_not_heard_under_whatever_name_it_comes() {
    let (agent, _directory) = start(AgentLimits::default()).await;
    let (address, port) = (agent.address(), agent.address().port());
    let put = |target: &str, headers: &str| {
        format!("PUT {target} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: 1\r\n\r\nx")
    };
    let key = "/v1/kv/key";
    for own in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"] {
        for host in [own.to_owned(), format!("{own}:{port}")] {
            let request = put(key, &format!("Host: {host}\r\n"));
            assert_eq!(status(address, &request).await, Some(200), "{host}");
        }
    }
    let consul = consul_at(&address.to_string());
    consul.kv_delete("key").await.unwrap();
    for (target, headers, expected) in [
        (key.to_owned(), "Host: evil.example\r\n".to_owned(), 421),
        (key.to_owned(), format!("Host: evil.example:{port}\r\n"), 421),
        (key.to_owned(), "Host: localhost.evil.example\r\n".to_owned(), 421),
        (key.to_owned(), "Host: 127.0.0.1:1\r\n".to_owned(), 421),
        (key.to_owned(), "Host: localhost\r\nHost: evil.example\r\n".to_owned(), 421),
        (key.to_owned(), "Host:\r\n".to_owned(), 421),
        (format!("http://evil.example{key}"), "Host: localhost\r\n".to_owned(), 421),
        (key.to_owned(), "Host: localhost\r\nOrigin: http://evil.example\r\n".to_owned(), 403),
        (key.to_owned(), "Host: localhost\r\nOrigin: null\r\n".to_owned(), 403),
        (key.to_owned(), format!("Host: localhost\r\nOrigin: http://localhost:{port}\r\n"), 403),
    ] {
        let answered = status(address, &put(&target, &headers)).await;
        assert_eq!(answered, Some(expected), "{target} {headers}");
    }
    // Not even about a path that is nowhere, nor to what a browser asks before it sends such a request.
    for line in ["GET /v1/kv/key?raw", "GET /nowhere", "DELETE /v1/kv/key", "OPTIONS /v1/kv/key"] {
        let request = format!("{line} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        assert_eq!(status(address, &request).await, Some(421), "{line}");
    }
    assert_eq!(consul.kv_get("key", Default::default()).await.unwrap().value, None);
    agent.shutdown().await;
}

#[tokio::test]
async fn what_is_sent_by_half_is_not_waited_for_and_what_waits_for_news_is_answered() {
    let limits = AgentLimits { head_within: SHORT, change_within: SHORT, ..AgentLimits::default() };
    let (agent, _directory) = start(limits).await;
    let head = "PUT /v1/kv/key HTTP/1.1\r\nHost: localhost\r\n";
    for (half, expected) in [
        ("", None),
        ("GET", None),
        (head, None),
        (&format!("{head}Content-Length: 9\r\n\r\nx"), Some(408)),
        (&format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"), Some(408)),
        ("GET /v1/kv/key HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", Some(404)),
    ] {
        let answered = status(agent.address(), half).await;
        assert!(answered == expected || (expected.is_none() && answered == Some(408)), "{half}");
    }
    // A read that waits is not in the middle of anything, and takes as long as it wants.
    let consul = consul_at(&agent.address().to_string());
    consul.kv_put("key", b"1").await.unwrap();
    let index = consul.kv_get("key", Default::default()).await.unwrap().index;
    let wait = kv_consul::Read::default().after(index, Duration::from_secs(600));
    let waiting = consul.kv_get("key", wait);
    let change = async {
        tokio::time::sleep(4 * SHORT).await;
        consul_at(&agent.address().to_string()).kv_put("key", b"2").await.unwrap();
    };
    let (news, ()) = tokio::join!(waiting, change);
    assert_eq!(news.unwrap().value.unwrap().value, b"2");
    agent.shutdown().await;
}

#[tokio::test]
async fn there_are_so_many_connections_and_further_ones_wait_for_their_turn() {
    let patient = Duration::from_secs(600);
    let limits = AgentLimits { connections: 2, head_within: patient, ..AgentLimits::default() };
    let (agent, _directory) = start(limits).await;
    let question = b"GET /v1/status/leader HTTP/1.1\r\nConnection: close\r\n\r\n";
    // They are taken in the order in which they came.
    let first = TcpStream::connect(agent.address()).await.unwrap();
    let _second = TcpStream::connect(agent.address()).await.unwrap();
    let mut third = TcpStream::connect(agent.address()).await.unwrap();
    third.write_all(question).await.unwrap();
    let mut byte = [0];
    let waits = tokio::time::timeout(SHORT, third.read(&mut byte)).await;
    assert!(waits.is_err(), "there is no room for it: {waits:?}");
    drop(first);
    assert_eq!(status_of(&mut third).await, Some(200));
    agent.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_is_given_up() {
    let limits = AgentLimits { connections: 1, unread_for: SHORT, ..AgentLimits::default() };
    let (agent, _directory) = start(limits).await;
    let key = "GET /v1/kv/key?raw HTTP/1.1\r\n\r\n";
    let consul = consul_at(&agent.address().to_string());
    consul.kv_put("key", &vec![b'x'; 512 << 10]).await.unwrap();
    // It keeps its connection, which is the only one, until it is dropped.
    drop(consul);
    let mut idle = TcpStream::connect(agent.address()).await.unwrap();
    // More than the system keeps for a connection.
    for _ in 0..100 {
        idle.write_all(key.as_bytes()).await.unwrap();
    }
    let question = "GET /v1/status/leader HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(status(agent.address(), question).await, Some(200));
    agent.shutdown().await;
}
