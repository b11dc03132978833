//! An input is empty, endless, or something else.

use std::fs;

use kv_testkit::harness::{Backend, Cluster};

#[test]
fn an_empty_input_replaces_no_value_unless_that_is_asked_for() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let value = || cluster.kvclient(&["get", "key"]).output().success().stdout;
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let output = cluster.kvclient(&["put", "key"]).output();
    output.code(2).no_stdout().says(&["nothing was stored", "\"\"", "\"key\""]);
    assert_eq!(value(), b"value");
    cluster.kvclient(&["put", "key", ""]).output().success();
    assert_eq!(value(), b"");
    cluster.kvclient(&["put", "key", "again"]).output().success();
    cluster.kvclient(&["put", "key", "-"]).output().success();
    assert_eq!(value(), b"");
}

#[test]
fn a_put_without_a_key_stores_the_payloads_that_it_reads() {
    let cluster = Cluster::without_layout(Backend::Embedded, 2);
    let payloads = "{\"op\":\"PUT\",\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n\n\
                    {\"op\":\"PUT\",\"key\":\"c\",\"value_base64\":\"/wA=\"}";
    // As the design writes it: the strategy by its file, and nothing else.
    let strategy = concat!(env!("CARGO_MANIFEST_DIR"), "/../strategies/hrw.wasm");
    let output = cluster.kvclient(&["--strategy", strategy, "put"]).stdin(payloads).output();
    output.success().no_stdout().says(&["stored 3 records", "placed by hrw"]);
    for (key, value) in [("a", &b"1"[..]), ("b", b"2"), ("c", b"\xff\x00")] {
        assert_eq!(cluster.kvclient(&["get", key]).output().success().stdout, value);
    }
    let json = cluster.kvclient(&["--output", "json", "put"]).stdin(payloads).output().success();
    assert_eq!(json.json()["records"], 3);
    for (op, key) in [("GET_ONE", "a"), ("DELETE", "a"), ("GET_ALL", "a"), ("put", "d")] {
        for command in ["put", "import"] {
            let line = format!("{{\"op\":\"{op}\",\"key\":\"{key}\",\"value\":\"3\"}}");
            let lines = format!("{{\"op\":\"PUT\",\"key\":\"z\",\"value\":\"1\"}}\n{line}\n");
            let output = cluster.kvclient(&[command]).stdin(lines).output();
            output.code(2).no_stdout().says(&["line 2", op, "records stored: 1"]);
        }
    }
    assert_eq!(cluster.kvclient(&["get", "a"]).output().success().stdout, b"1");
    cluster.kvclient(&["put"]).output().success().says(&["stored 0 records"]);
    cluster.kvclient(&["put", "--if-absent"]).output().code(2).says(&["<KEY>"]);
}

#[test]
fn what_is_no_text_of_lines_is_named() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let line = "{\"key\":\"k\",\"value\":\"v\"}\n";
    let marked = cluster.kvclient(&["import"]).stdin(format!("\u{feff}{line}")).output();
    marked.success().says(&["stored 1 records"]);
    let wide = |to: fn(u16) -> [u8; 2]| line.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
    for bytes in [
        little.clone(),
        big.clone(),
        [b"\xff\xfe", &little[..]].concat(),
        [b"\xfe\xff", &big[..]].concat(),
    ] {
        let output = cluster.kvclient(&["import"]).stdin(bytes).output();
        output.code(2).no_stdout().says(&["line 1", "UTF-16", "iconv"]);
    }
    let compressed = cluster.kvclient(&["import"]).stdin(b"\x1f\x8b\x08\x00".to_vec()).output();
    compressed.code(2).says(&["line 1", "gunzip"]);
}

#[test]
fn a_line_without_an_end_is_not_read_for_ever() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    // A pipe that never ends: a client that reads it to its end never says anything.
    let script = r#"(printf '{"key":"a","value":"v"}\n{"key":"b","value":"'; exec tr '\0' v </dev/zero) | exec "$0" "$@""#;
    let output = cluster.kvclient_in_shell(script, &["import"]).output();
    output.code(2).no_stdout().says(&["line 2", "longer than", "33554432", "records stored: 1"]);
    // Nor is one of texts each of which is as long as a value may be.
    let script = r#"(printf '{'; while printf '"'; do head -c 8000000 /dev/zero | tr '\0' v; printf '",'; done) | exec "$0" "$@""#;
    let output = cluster.kvclient_in_shell(script, &["import"]).output();
    output.code(2).no_stdout().says(&["line 1", "longer than", "records stored: 0"]);
    // Nor is what begins as something else.
    fs::write(cluster.directory().join("text"), "all work and no play ".repeat(1 << 20))
        .expect("it can be written");
    let output = cluster.kvclient(&["import", "text"]).output();
    output.code(2).no_stdout().says(&["line 1", "begins with \"all work"]);
}
