//! Plain HTTP without the product's client, as a program in any language would speak it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::Server;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let kind = self.headers.get("content-type").map(String::as_str);
        assert_eq!(kind, Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn index(&self) -> u64 {
        self.headers["x-consul-index"].parse().unwrap()
    }
}

pub(crate) async fn get(server: &Server, path: &str) -> Reply {
    send(server, "GET", path, b"").await
}

pub(crate) async fn put(server: &Server, path: &str, body: impl AsRef<[u8]>) -> Reply {
    send(server, "PUT", path, body.as_ref()).await
}

/// Sends one request. HTTP/1.0 keeps the answer simple: no chunks, and its end is the connection's.
pub(crate) async fn send(server: &Server, method: &str, path: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses a large body may close before it has read all of it.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("the answer has a head");
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Reply { status, headers, body: answer[end + 4..].to_vec() }
}

/// Asserts that `actual` has all that `expected` has. Objects may have further members; everything
/// else must be equal.
#[track_caller]
pub(crate) fn assert_contains(actual: &Value, expected: &Value) {
    fn contains(actual: &Value, expected: &Value) -> bool {
        match (actual, expected) {
            (Value::Object(actual), Value::Object(expected)) => expected
                .iter()
                .all(|(name, value)| actual.get(name).is_some_and(|a| contains(a, value))),
            (Value::Array(actual), Value::Array(expected)) => {
                actual.len() == expected.len()
                    && actual.iter().zip(expected).all(|(a, e)| contains(a, e))
            }
            _ => actual == expected,
        }
    }
    assert!(contains(actual, expected), "expected at least {expected:#}\ngot {actual:#}");
}
