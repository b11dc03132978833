//! Messages that are no requests.

use kv_core::limits::{
    BODY_BYTES_MAX, FRAME_BYTES_MAX, HEADER_BYTES_MAX, KEY_BYTES_MAX, REQUEST_ID_BYTES_MAX,
    VALUE_BYTES_MAX_DEFAULT,
};
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::zmtp::{RawPeer, frame, part};
use kv_transport::server::limits::MESSAGE_FRAMES_MAX;
use serde_json::json;

/// A node, a peer that misbehaves, and one that does not.
struct Scene {
    cluster: Cluster,
    bad: Peer,
    good: Peer,
}

impl Scene {
    fn new() -> Self {
        Self::with_node_args(&[])
    }

    fn with_node_args(args: &[&str]) -> Self {
        let mut cluster = Cluster::empty(Backend::Embedded);
        cluster.add_node(&[&["--id", "node-0", "--port", "0"], args].concat());
        cluster.create_layout(&[]);
        let endpoint = cluster.node(0).endpoint();
        let (bad, good) = (Peer::dealer(&endpoint), Peer::req(&endpoint));
        good.ask(r#"{"op":"PUT","key":"witness","value":"well"}"#);
        Self { cluster, bad, good }
    }

    /// Checks that `frames` are refused with `code`, and that this was all that happened.
    #[track_caller]
    fn refused(&self, code: &str, frames: &[&[u8]]) {
        assert_eq!(self.bad.refusal(frames), code, "{}", shown(frames));
        self.all_is_well();
    }

    /// Checks that a header is refused with `code`.
    #[track_caller]
    fn header_refused(&self, code: &str, header: &str) {
        self.refused(code, &[header.as_bytes()]);
    }

    /// Checks that `frames` are answered with `"ok":true`.
    #[track_caller]
    fn stored(&self, frames: &[&[u8]]) {
        let reply = parse(&self.bad.ask_frames(frames)[0]);
        assert_eq!(reply["ok"], true, "{}: {reply}", shown(frames));
    }

    #[track_caller]
    fn all_is_well(&self) {
        for peer in [&self.good, &self.bad] {
            let reply = peer.ask(r#"{"op":"GET_ONE","key":"witness"}"#);
            assert_eq!(reply, r#"{"key":"witness","value":"well"}"#);
        }
    }

    /// Checks that nothing but the witness is stored.
    #[track_caller]
    fn nothing_is_stored(&self) {
        let expected = r#"{"collection":[{"key":"witness","value":"well"}]}"#;
        assert_eq!(self.good.ask(r#"{"op":"GET_ALL"}"#), expected);
        assert!(!self.cluster.node(0).log().contains("panicked"));
    }
}

fn shown(frames: &[&[u8]]) -> String {
    let start = |frame: &&[u8]| String::from_utf8_lossy(&frame[..frame.len().min(80)]).into_owned();
    frames.iter().take(5).map(start).collect::<Vec<_>>().join(" | ")
}

#[test]
fn json_that_is_none_or_cut_short_or_deep_is_refused() {
    let scene = Scene::new();
    let whole = r#"{"op":"PUT","key":"key","value":"v\u00e4lue","if_absent":true,"id":7}"#;
    for cut in 1..whole.len() {
        scene.header_refused("bad_request", &whole[..cut]);
    }
    for header in
        ["null", "[]", "7", "\"PUT\"", "true", "{}", "{\"op\":\"PUT\"} {}", "PUT key value"]
    {
        scene.header_refused("bad_request", header);
    }
    for header in [&b"\xff\xfe\xfd"[..], b"\0", b"{\"op\":\"GET_ONE\",\"key\":\"\xff\"}"] {
        scene.refused("bad_request", &[header]);
    }
    // A lone surrogate is no text.
    scene.header_refused("bad_request", r#"{"op":"GET_ONE","key":"\ud800"}"#);
    for open in ["[", "{\"op\":", "{\"ops\":["] {
        scene.header_refused("bad_request", &open.repeat(100_000));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for header in [&deep, &format!(r#"{{"op":"PUT","key":"k","value":{deep}}}"#)] {
        scene.header_refused("bad_request", header);
    }
    scene.nothing_is_stored();
}

#[test]
fn wrong_members_are_refused_by_name() {
    let scene = Scene::new();
    for header in [
        r#"{"key":"k","value":"v"}"#,
        r#"{"op":7,"key":"k","value":"v"}"#,
        r#"{"op":null,"key":"k","value":"v"}"#,
        r#"{"op":"PUT","value":"v"}"#,
        r#"{"op":"PUT","key":"k"}"#,
        r#"{"op":"PUT","key":7,"value":"v"}"#,
        r#"{"op":"PUT","key":null,"value":"v"}"#,
        r#"{"op":"PUT","key":["k"],"value":"v"}"#,
        r#"{"op":"PUT","key":"k","value":7}"#,
        r#"{"op":"PUT","key":"k","value":null}"#,
        r#"{"op":"PUT","key":"k","value":{"a":1}}"#,
        r#"{"op":"PUT","key":"","value":"v"}"#,
        r#"{"op":"PUT","key":"k","key":"l","value":"v"}"#,
        r#"{"op":"PUT","key":"k","value":"v","vaule":"v"}"#,
        r#"{"op":"PUT","key":"k","value":"v","if_absent":"yes"}"#,
        r#"{"op":"PUT","key":"k","value":"v","if_version":7}"#,
        r#"{"op":"PUT","key":"k","value":"v","if_version":"seven"}"#,
        r#"{"op":"PUT","key":"k","value":"v","if_absent":true,"if_version":"1-1"}"#,
        r#"{"op":"PUT","key":"k","value":"v","epoch":-1}"#,
        r#"{"op":"PUT","key":"k","value":"v","epoch":1.5}"#,
        r#"{"op":"PUT","key":"k","value":"v","cluster":"mine"}"#,
        r#"{"op":"PUT","key":"k","value":"v","id":[1]}"#,
        r#"{"op":"PUT","key":"k","value":"v","id":-1}"#,
        r#"{"op":"GET_ONE"}"#,
        r#"{"op":"GET_ONE","key":"k","value":"v"}"#,
        r#"{"op":"DELETE","key":"k","if_absent":true}"#,
        r#"{"op":"GET_ALL","prefix":"k"}"#,
        r#"{"op":"SCAN","limit":0}"#,
        r#"{"op":"SCAN","limit":-1}"#,
        r#"{"op":"SCAN","after":""}"#,
        r#"{"op":"SCAN","partition":99999}"#,
        r#"{"op":"BATCH"}"#,
        r#"{"op":"BATCH","ops":[]}"#,
        r#"{"op":"BATCH","ops":{}}"#,
        r#"{"op":"BATCH","ops":[{"op":"PUT","key":"k","value":"v"},{"op":"PUT","key":"k"}]}"#,
        r#"{"op":"BATCH","ops":[7]}"#,
    ] {
        scene.header_refused("bad_request", header);
    }
    for header in [
        r#"{"op":"put","key":"k","value":"v"}"#,
        r#"{"op":"DROP"}"#,
        r#"{"op":""}"#,
        r#"{"op":"BATCH","ops":[{"op":"BATCH"}]}"#,
    ] {
        scene.header_refused("unknown_op", header);
    }
    let message = |header: &str| {
        let reply = scene.bad.ask_json(header);
        reply["error"]["message"].as_str().expect("a refusal has a message").to_owned()
    };
    assert!(message(r#"{"op":"put","key":"k","value":"v"}"#).contains("GET_ONE"), "what there is");
    assert!(message(r#"{"op":"PUT","key":"k","vaule":"v"}"#).contains("vaule"));
    scene.nothing_is_stored();
}

#[test]
fn lists_are_no_requests() {
    let scene = Scene::new();
    for header in [
        r#"["PUT",null,null,null,null,null,null,"k","v"]"#,
        r#"["GET_ALL"]"#,
        r#"{"op":"BATCH","ops":[["PUT","k","v"]]}"#,
        r#"{"op":"BATCH","ops":[[]]}"#,
    ] {
        scene.header_refused("bad_request", header);
    }
    scene.nothing_is_stored();
}

#[test]
fn frames_that_are_missing_or_too_many_are_refused() {
    let scene = Scene::new();
    let get = br#"{"op":"GET_ONE","key":"witness"}"#;
    let put = br#"{"op":"PUT","key":"k","value_bytes":2}"#;
    for frames in [
        &[&b""[..], b""][..],
        &[b"", b"", get],
        &[get, b"a", b"b"],
        &[b"", get, b"a", b"b"],
        &[get, b"unasked for"],
        &[put],
        &[put, b""],
        &[put, b"a"],
        &[put, b"abc"],
        &[put, b"ab", b""],
        &[br#"{"op":"PUT","key":"k","value":"v","value_bytes":1}"#, b"v"],
        &[br#"{"op":"BATCH","ops":[{"op":"PUT","key":"k","value_bytes":2}]}"#, b"abc"],
    ] {
        scene.refused("bad_request", frames);
    }
    let many: Vec<&[u8]> = vec![b"frame"; MESSAGE_FRAMES_MAX];
    scene.refused("bad_request", &many);
    // Beyond that there is no answer.
    let mut worse = RawPeer::dealer(scene.cluster.node(0).address());
    let parts = part(b"frame").repeat(MESSAGE_FRAMES_MAX);
    worse.write(&[&parts[..], &frame(0, b"frame")].concat()).expect("the node reads");
    assert!(worse.is_closed_by_node());
    scene.nothing_is_stored();
}

#[test]
fn keys_and_ids_have_limits() {
    let scene = Scene::new();
    let put = |key: &str| json!({"op": "PUT", "key": key, "value": "v"}).to_string();
    // The limit is in bytes, and these have two each.
    for key in ["k".repeat(KEY_BYTES_MAX), "\u{e4}".repeat(KEY_BYTES_MAX / 2)] {
        scene.stored(&[put(&key).as_bytes()]);
        let longer = format!("{key}k");
        scene.header_refused("too_large", &put(&longer));
        for op in ["GET_ONE", "DELETE"] {
            scene.header_refused("too_large", &json!({"op": op, "key": longer}).to_string());
        }
        scene.header_refused("too_large", &json!({"op": "SCAN", "prefix": longer}).to_string());
        scene.stored(&[json!({"op": "DELETE", "key": key}).to_string().as_bytes()]);
    }
    let status = |id: &str| json!({"op": "STATUS", "id": id}).to_string();
    let id = "i".repeat(REQUEST_ID_BYTES_MAX);
    assert_eq!(scene.bad.ask_json(&status(&id))["id"], id);
    scene.header_refused("too_large", &status(&format!("{id}i")));
    scene.nothing_is_stored();
}

#[test]
fn values_and_messages_have_limits() {
    let scene = Scene::new();
    let put = |length: usize| json!({"op": "PUT", "key": "k", "value_bytes": length}).to_string();
    let longest = vec![7; VALUE_BYTES_MAX_DEFAULT];
    scene.stored(&[put(longest.len()).as_bytes(), &longest]);
    let read = scene.bad.ask_frames(&[br#"{"op":"GET_ONE","key":"k","values":"body"}"#]);
    assert!(read[1] == longest, "it comes back as it went");
    let longer = vec![7; VALUE_BYTES_MAX_DEFAULT + 1];
    scene.refused("too_large", &[put(longer.len()).as_bytes(), &longer]);
    scene.header_refused("too_large", &put(u32::MAX as usize));

    let text = |length: usize| json!({"op": "PUT", "key": "k", "value": "v".repeat(length)});
    scene.stored(&[text(VALUE_BYTES_MAX_DEFAULT).to_string().as_bytes()]);
    scene.header_refused("too_large", &text(VALUE_BYTES_MAX_DEFAULT + 1).to_string());

    let padded = |length: usize| {
        let header = r#"{"op":"DELETE","key":"k"}"#;
        format!("{}{header}", " ".repeat(length - header.len()))
    };
    scene.stored(&[padded(HEADER_BYTES_MAX).as_bytes()]);
    scene.header_refused("too_large", &padded(HEADER_BYTES_MAX + 1));
    let huge = vec![b'['; HEADER_BYTES_MAX * 3];
    scene.refused("too_large", &[&huge]);
    scene.refused("too_large", &[br#"{"op":"STATUS"}"#, &vec![0; BODY_BYTES_MAX + 1]]);
    scene.nothing_is_stored();

    // A frame that no limit foresees is not even read: the peer is disconnected.
    scene.bad.send(&[&vec![b' '; FRAME_BYTES_MAX + 1]]);
    let reply = scene.good.ask(r#"{"op":"GET_ONE","key":"witness"}"#);
    assert_eq!(reply, r#"{"key":"witness","value":"well"}"#);
    // ZeroMQ connects it again, and then it is served as any other.
    scene.all_is_well();
}

#[test]
fn the_limit_of_values_can_be_set() {
    let scene = Scene::with_node_args(&["--value-bytes-max", "10"]);
    scene.stored(&[br#"{"op":"PUT","key":"k","value":"0123456789"}"#]);
    scene.header_refused("too_large", r#"{"op":"PUT","key":"k","value":"0123456789a"}"#);
    let batch = br#"{"op":"BATCH","ops":[{"op":"PUT","key":"k","value":"0123456789a"}]}"#;
    scene.refused("too_large", &[batch]);
    let cluster = &scene.cluster;
    let output = cluster.kvclient(&["put", "k", "0123456789a"]).output();
    output.code(4).no_stdout().says(&["10"]);
    for wrong in ["0", "33554433", "ten"] {
        cluster.kvnode(&["--value-bytes-max", wrong]).output().code(2).says(&["--value-bytes-max"]);
    }
}
