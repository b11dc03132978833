//! Plain HTTP: what any Consul client does, and a server that is no Consul.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::address::port_of;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The JSON at `path`; none where there is nothing.
///
/// # Panics
/// Where it is not answered with JSON.
#[track_caller]
pub fn get_json(address: &str, path: &str) -> Option<Value> {
    let answer = exchange(address, "GET", path, b"");
    let answer = answer.unwrap_or_else(|error| panic!("GET {path}: {error}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if head.contains(" 404 ") {
        return None;
    }
    assert!(head.contains(" 200 "), "GET {path}: {answer}");
    let json = serde_json::from_str(body);
    Some(json.unwrap_or_else(|error| panic!("GET {path}: {error}: {body}")))
}

/// Writes `body` to `path`.
///
/// # Panics
/// Where the answer is not that it was done.
#[track_caller]
pub fn put(address: &str, path: &str, body: &[u8]) {
    change(address, "PUT", path, body);
}

/// Deletes what is at `path`.
///
/// # Panics
/// Where the answer is not that it was done.
#[track_caller]
pub fn delete(address: &str, path: &str) {
    change(address, "DELETE", path, b"");
}

#[track_caller]
fn change(address: &str, method: &str, path: &str, body: &[u8]) {
    let answer = exchange(address, method, path, body);
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let done = answer.split_once("\r\n\r\n").is_some_and(|(_, body)| body.trim() == "true");
    assert!(done, "{method} {path}: {answer}");
}

/// What a request for `path` is answered, as bytes.
///
/// # Panics
/// Where it is not answered with status 200.
#[track_caller]
pub fn bytes(address: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let answer = exchange_bytes(address, method, path, body);
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.expect("it is HTTP") + 4);
    let head = String::from_utf8_lossy(head);
    assert!(head.contains(" 200 "), "{method} {path}: {head}");
    body.to_vec()
}

fn exchange(address: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<String> {
    let answer = exchange_bytes(address, method, path, body)?;
    String::from_utf8(answer).map_err(std::io::Error::other)
}

fn exchange_bytes(
    address: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    // HTTP/1.0: the answer ends with the connection, and is not in chunks.
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A server at a Consul's place that always does the same.
pub struct Impostor {
    address: String,
    stop: Arc<AtomicBool>,
    /// The beginnings of the requests that it was sent.
    heard: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    /// A server that answers everything with status 500.
    pub fn failing() -> Self {
        Self::start(Some(("500 Internal Server Error", "No leader")))
    }

    /// A server that answers with text that is no Consul's.
    pub fn strange() -> Self {
        Self::start(Some(("200 OK", "<html>hi</html>")))
    }

    /// A server that says what Consul says of its leader, to whatever it is asked.
    pub fn leading() -> Self {
        Self::start(Some(("200 OK", "\"127.0.0.1:8300\"")))
    }

    /// A server that takes connections and never answers.
    pub fn silent() -> Self {
        Self::start(None)
    }

    fn start(answer: Option<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                if let Some((status, body)) = answer {
                    let mut request = [0; 4096];
                    let length = stream.read(&mut request).unwrap_or_default();
                    let text = String::from_utf8_lossy(&request[..length]).into_owned();
                    hears.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    let length = body.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                } else {
                    held.push(stream);
                }
            }
        });
        Self { address, stop, heard, thread: Some(thread) }
    }

    /// Its host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        port_of(&self.address)
    }

    /// The beginnings of the requests that it was sent.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A connection wakes the thread, which then sees that it shall stop.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
