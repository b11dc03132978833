//! What an older version has said is understood, and said alike.

use kv_core::limits::VALUE_BYTES_MAX_DEFAULT;
use kv_protocol::reply::Reply;
use kv_protocol::request::{Request, Style};
use serde::Deserialize;

/// Messages between clients and nodes of a version from just before the code was divided into crates.
const RECORDED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/06b42c7/wire.ndjson");

/// Each operation there is.
const OPERATIONS: [&str; 13] = [
    "PUT", "GET_ONE", "GET_ALL", "DELETE", "BATCH", "SCAN", "STATUS", "FETCH", "COPY", "DIGEST",
    "COUNT", "STORED", "HOLDS",
];

#[derive(Deserialize)]
struct Exchange {
    request: Message,
    reply: Message,
}

#[derive(Deserialize)]
struct Message {
    header: String,
    /// In hexadecimal digits.
    body: Option<String>,
}

impl Message {
    fn body(&self) -> Option<Vec<u8>> {
        let digits = self.body.as_ref()?;
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        Some((0..digits.len()).step_by(2).map(byte).collect())
    }
}

fn exchanges() -> Vec<Exchange> {
    let lines = std::fs::read_to_string(RECORDED).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_requests_of_an_older_version_are_read_and_written_alike() {
    let mut by_programs = 0;
    let mut missing = OPERATIONS.to_vec();
    for Exchange { request, .. } in exchanges() {
        let (header, body) = (request.header.as_str(), request.body());
        // What a plain client says may be wrong, or have its members in another order.
        let is_plain = !["\"cluster\"", "\"values\":\"body\""].iter().any(|it| header.contains(it));
        let read = Request::decode(header.as_bytes(), body.as_deref(), VALUE_BYTES_MAX_DEFAULT);
        if is_plain && read.is_err() {
            continue;
        }
        let (written, written_body) = read.unwrap().encode();
        missing.retain(|it| !header.starts_with(&format!("{{\"op\":\"{it}\"")));
        if !is_plain {
            by_programs += 1;
            assert_eq!(String::from_utf8(written).unwrap(), header);
            assert!(written_body == body, "the body of {header} is another");
        }
    }
    assert_eq!(missing, Vec::<&str>::new(), "nothing is recorded of these");
    assert!(by_programs > 20, "{by_programs}");
}

#[test]
fn the_replies_of_an_older_version_are_read_and_written_alike() {
    let mut refusals = 0;
    for Exchange { request, reply } in exchanges() {
        let (asked, body) = (request.body(), reply.body());
        let asked =
            Request::decode(request.header.as_bytes(), asked.as_deref(), VALUE_BYTES_MAX_DEFAULT);
        let style = asked.map_or_else(|_| Style::default(), |it| it.style);
        let read = Reply::decode(reply.header.as_bytes(), body.as_deref()).unwrap();
        refusals += usize::from(reply.header.starts_with("{\"error\""));
        let (written, written_body) = read.encode(style);
        assert_eq!(String::from_utf8(written).unwrap(), reply.header);
        assert!(written_body == body, "the body of {} is another", reply.header);
    }
    assert!(refusals > 5, "{refusals}");
}
