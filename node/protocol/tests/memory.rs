//! What a stranger's message makes a reader take of memory: a small multiple of its length, for any
//! content. The allocator of this process counts what each thread has.
#![allow(unsafe_code, reason = "an allocator that counts is written like this")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kv_core::layout;
use kv_core::limits::VALUE_BYTES_MAX_DEFAULT;
use kv_protocol::reply::Reply;
use kv_protocol::request::Request;
use kv_registry::desired_state;

/// How long the messages are, in bytes: as much as shows the multiple, and no more.
const LENGTH: usize = 1 << 20;
/// The most that a reader may take for each byte of a message, besides the message itself.
const MULTIPLE: usize = 3;
/// What may come on top: lists are built up to a limit on the number of their elements, however short
/// the message is.
const FIXED_BYTES: usize = 3 << 20;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system's allocator's, which keeps its promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().saturating_add(layout.size());
        HELD.set(held);
        PEAK.set(PEAK.get().max(held));
        // SAFETY: the caller keeps to what `GlobalAlloc` asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get().saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was taken while `read` ran, in bytes.
fn peak_of(read: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    read();
    PEAK.get() - before
}

#[track_caller]
fn assert_small(what: &str, bytes: &[u8], read: impl FnOnce(&[u8])) {
    let peak = peak_of(|| read(bytes));
    let most = MULTIPLE * bytes.len() + FIXED_BYTES;
    let shown = String::from_utf8_lossy(&bytes[..60.min(bytes.len())]).into_owned();
    assert!(peak <= most, "{what} took {peak} bytes for {} of {shown}", bytes.len());
}

/// `start`, then `one` as often as fits, with commas between, then `end`.
fn filled(start: &str, one: &str, end: &str) -> Vec<u8> {
    let count = (LENGTH - start.len() - end.len()) / (one.len() + 1);
    let mut text = String::with_capacity(LENGTH);
    text.push_str(start);
    for index in 0..count {
        if index > 0 {
            text.push(',');
        }
        text.push_str(one);
    }
    text.push_str(end);
    text.into_bytes()
}

/// Values of every kind that take far more once they are built, or are long.
fn heavy_values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = ["0", "{}", "[]", "\"\"", "null", "[0,0,0]", "{\"a\":0}"]
        .iter()
        .map(|one| filled("[", one, "]"))
        .collect();
    values.push(filled("[", r#"{"op":"PUT","key":"k","value":"v"}"#, "]"));
    values.push(filled("[", r#"{"key":"k","value":"v","version":"1-1"}"#, "]"));
    values.push(filled("[", r#"{"error":{"code":"retry","message":"m"}}"#, "]"));
    values.push(filled("{", "\"a\":0", "}"));
    values.push(filled("{", "\"key\":\"a\"", "}"));
    let text = |content: &str| format!("\"{}\"", content.repeat(LENGTH / content.len()));
    values.push(text("x").into_bytes());
    values.push(text("\\n").into_bytes());
    values.push(text("\\u00e4").into_bytes());
    values.push("[".repeat(LENGTH).into_bytes());
    values.push("{\"a\":".repeat(LENGTH / 5).into_bytes());
    values.push(format!("{}{}", "[".repeat(LENGTH / 2), "]".repeat(LENGTH / 2)).into_bytes());
    values.push("9".repeat(LENGTH).into_bytes());
    values.push(" ".repeat(LENGTH).into_bytes());
    values
}

/// Messages that have a heavy value as each of `members`, as a member that the format does not have, and
/// as the whole message.
fn heavy_messages<'a>(prefix: &'a str, members: &'a [&str]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let values = heavy_values();
    let named = values.clone().into_iter().flat_map(move |value| {
        let member =
            move |name: &&str| [format!("{{{prefix}\"{name}\":").as_bytes(), &value, b"}"].concat();
        members.iter().chain(&["nonsense"]).map(member).collect::<Vec<_>>()
    });
    let long_name = format!("{{{prefix}\"{}\":0}}", "n".repeat(LENGTH));
    let escaped_name = format!("{{{prefix}\"{}\":0}}", "\\n".repeat(LENGTH / 2));
    named.chain(values).chain([long_name.into_bytes(), escaped_name.into_bytes()])
}

#[test]
fn requests_take_a_small_multiple_of_their_length() {
    let members = [
        "op",
        "id",
        "cluster",
        "node",
        "epoch",
        "incarnation",
        "values",
        "versions",
        "key",
        "value",
        "value_bytes",
        "if_absent",
        "if_version",
        "ops",
        "operations",
        "partition",
        "from",
        "after",
        "until",
        "to",
        "peer",
        "side",
        "records",
        "partitions",
        "prefix",
        "limit",
    ];
    for header in heavy_messages("", &members) {
        assert_small("a request", &header, |header| {
            let _ = Request::decode(header, None, VALUE_BYTES_MAX_DEFAULT);
        });
    }
}

#[test]
fn operations_of_a_batch_take_a_small_multiple_of_their_length() {
    let members = ["op", "key", "value", "value_bytes", "if_absent", "if_version"];
    for operation in heavy_messages("", &members) {
        let header = [b"{\"op\":\"BATCH\",\"ops\":[", &operation[..], b"]}"].concat();
        assert_small("a batch", &header, |header| {
            let _ = Request::decode(header, None, VALUE_BYTES_MAX_DEFAULT);
        });
    }
}

#[test]
fn replies_take_a_small_multiple_of_their_length() {
    let members = [
        "key",
        "ok",
        "existed",
        "value",
        "value_bytes",
        "version",
        "error",
        "results",
        "outcomes",
        "collection",
        "deleted",
        "next",
        "records",
        "copied",
        "digests",
        "written",
        "sizes",
        "next_partition",
        "keys",
        "held",
        "status",
        "id",
    ];
    for header in heavy_messages("", &members) {
        assert_small("a reply", &header, |header| {
            let _ = Reply::decode(header, None);
        });
    }
    // Members that have members of their own.
    let members = ["value", "message", "kept"];
    for inner in heavy_messages("", &members) {
        for (start, end) in
            [("{\"collection\":[", "]}"), ("{\"error\":", "}"), ("{\"status\":", "}")]
        {
            let header = [start.as_bytes(), &inner, end.as_bytes()].concat();
            assert_small("a reply", &header, |header| {
                let _ = Reply::decode(header, None);
            });
        }
    }
}

#[test]
fn outcomes_in_a_body_take_a_small_multiple_of_its_length() {
    // Of each kind that a byte can name.
    for kind in 0..64 {
        let body = vec![kind; LENGTH];
        let header = format!("{{\"outcomes\":{LENGTH}}}");
        assert_small("outcomes", &body, |body| {
            let _ = Reply::decode(header.as_bytes(), Some(body));
        });
    }
}

#[test]
fn documents_in_consul_take_a_small_multiple_of_their_length() {
    let members =
        ["format", "cluster", "epoch", "partitions", "replicas", "placement", "rebalance"];
    for document in heavy_messages("\"format\":2,", &members) {
        assert_small("a layout", &document, |document| {
            let _ = layout::Document::parse(document);
        });
    }
    let member = r#"{"id":"a","uuid":"67e55044-10b1-426f-9247-bb680e5fe0c8","weight":1,"zone":""}"#;
    for inner in heavy_values().into_iter().chain([filled("[", member, "]")]) {
        let placement = [b"{\"format\":2,\"placement\":{\"members\":", &inner[..], b"}}"].concat();
        assert_small("a layout", &placement, |document| {
            let _ = layout::Document::parse(document);
        });
    }
    for document in heavy_messages("\"wanted\":\"running\",", &["host"]) {
        assert_small("a signal", &document, |document| {
            let _ = desired_state::DesiredState::parse(document);
        });
    }
}
