use kv_consul::{ConsulError, KvEntry, Read, VALUE_BYTES_MAX};
use serde_json::json;

use crate::raw::{self, assert_contains, get, put};
use crate::server::Server;

async fn entry(server: &Server, key: &str) -> Option<KvEntry> {
    server.consul().kv_get(key, Read::default()).await.unwrap().value
}

pub(crate) async fn values_of_any_bytes_come_back(server: &Server) {
    let consul = server.consul();
    let missing = consul.kv_get("bytes/x", Read::default()).await.unwrap();
    assert_eq!(missing.value, None);
    assert!(missing.index > 0);
    let all: Vec<u8> = (0..=255).collect();
    for value in [&b""[..], b"text", "\u{e9}\u{20ac}".as_bytes(), &all, b"\r\n\0\r\n"] {
        consul.kv_put("bytes/x", value).await.unwrap();
        let read = consul.kv_get("bytes/x", Read::default()).await.unwrap();
        let entry = read.value.unwrap();
        assert_eq!((entry.key.as_str(), entry.value.as_slice()), ("bytes/x", value));
        assert_eq!(entry.modify_index, read.index);
        assert!(entry.create_index > missing.index);
        assert_eq!((entry.lock_index, entry.session), (0, None));
    }
    consul.kv_delete("bytes/x").await.unwrap();
    consul.kv_delete("bytes/x").await.unwrap();
    assert_eq!(entry(server, "bytes/x").await, None);
}

pub(crate) async fn a_compare_and_set_holds_only_at_the_last_index(server: &Server) {
    let consul = server.consul();
    let cas = async |value: &[u8], index| consul.kv_put_cas("cas/x", value, index).await.unwrap();
    assert!(!cas(b"0", 99).await, "there is no key yet");
    assert!(cas(b"1", 0).await);
    assert!(!cas(b"2", 0).await, "there is a key");
    let first = entry(server, "cas/x").await.unwrap();
    assert!(!cas(b"2", first.modify_index + 1).await);
    assert!(cas(b"2", first.modify_index).await);
    assert!(!cas(b"3", first.modify_index).await);
    let second = entry(server, "cas/x").await.unwrap();
    assert_eq!(second.value, b"2");
    assert_eq!(second.create_index, first.create_index);
    assert!(second.modify_index > first.modify_index);
}

pub(crate) async fn a_conditional_delete_holds_only_at_the_last_index(server: &Server) {
    let consul = server.consul();
    let delete = async |index| consul.kv_delete_cas("delete/x", index).await.unwrap();
    assert!(delete(5).await, "what is not there is gone");
    consul.kv_put("delete/x", b"1").await.unwrap();
    let index = entry(server, "delete/x").await.unwrap().modify_index;
    assert!(!delete(0).await);
    assert!(!delete(index + 1).await);
    assert!(entry(server, "delete/x").await.is_some());
    assert!(delete(index).await);
    assert_eq!(entry(server, "delete/x").await, None);
    assert!(consul.kv_put_cas("delete/x", b"2", 0).await.unwrap(), "it can be created again");
    assert!(entry(server, "delete/x").await.unwrap().create_index > index);
}

pub(crate) async fn of_many_writers_with_one_index_exactly_one_wins(server: &Server) {
    const WRITERS: u32 = 8;
    const ROUNDS: u32 = 5;
    let consul = server.consul();
    let mut index = 0;
    for round in 0..ROUNDS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let consul = consul.clone();
                let value = format!("{round} {writer}");
                tokio::spawn(async move {
                    let won = consul.kv_put_cas("race/x", value.as_bytes(), index).await.unwrap();
                    won.then_some(value)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            winners.extend(writer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let entry = consul.kv_get("race/x", Read::consistent()).await.unwrap().value.unwrap();
        assert_eq!(entry.value, winners[0].as_bytes());
        index = entry.modify_index;
    }
}

pub(crate) async fn a_prefix_is_listed_in_order(server: &Server) {
    let consul = server.consul();
    let list = async |prefix: &str| -> Vec<String> {
        let listed = consul.kv_list(prefix, Read::default()).await.unwrap();
        assert!(listed.index > 0);
        listed.value.into_iter().map(|entry| entry.key).collect()
    };
    assert!(list("list/").await.is_empty());
    for key in ["list/b/1", "list/a", "list/b", "list-other", "list/c_d-e"] {
        consul.kv_put(key, key.as_bytes()).await.unwrap();
    }
    assert_eq!(list("list/").await, ["list/a", "list/b", "list/b/1", "list/c_d-e"]);
    assert_eq!(list("list/b").await, ["list/b", "list/b/1"]);
    let reply = raw::send(server, "DELETE", "/v1/kv/list/?recurse", b"").await;
    assert_eq!(reply.json(), json!(true));
    assert_eq!(list("list").await, ["list-other"]);
}

pub(crate) async fn an_unchanged_write_keeps_the_index(server: &Server) {
    let consul = server.consul();
    consul.kv_put("same/x", b"1").await.unwrap();
    let before = entry(server, "same/x").await;
    consul.kv_put("same/x", b"1").await.unwrap();
    assert_eq!(entry(server, "same/x").await, before);
}

pub(crate) async fn values_up_to_the_limit_are_taken(server: &Server) {
    let consul = server.consul();
    let largest = vec![b'x'; VALUE_BYTES_MAX];
    consul.kv_put("limit/x", &largest).await.unwrap();
    assert_eq!(entry(server, "limit/x").await.unwrap().value, largest);
    let too_large = [largest.as_slice(), b"x"].concat();
    let error = consul.kv_put("limit/x", &too_large).await.unwrap_err();
    assert!(matches!(error, ConsulError::ValueTooLarge { .. }), "{error:?}");
    let reply = put(server, "/v1/kv/limit/x", &too_large).await;
    assert_eq!(reply.status, 413, "{reply:?}");
    assert!(reply.text().contains("524288"), "{reply:?}");
    assert_eq!(entry(server, "limit/x").await.unwrap().value, largest);
    consul.kv_delete("limit/x").await.unwrap();
}

pub(crate) async fn the_documents_have_the_documented_members(server: &Server) {
    assert_eq!(put(server, "/v1/kv/doc/a?flags=42", "value").await.json(), json!(true));
    assert_eq!(put(server, "/v1/kv/doc/b", "").await.json(), json!(true));
    let reply = get(server, "/v1/kv/doc/a").await;
    let index = reply.index();
    let expected = json!([{
        "Key": "doc/a", "Value": "dmFsdWU=", "Flags": 42, "LockIndex": 0,
        "CreateIndex": index, "ModifyIndex": index,
    }]);
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.headers["x-consul-knownleader"], "true");
    assert_eq!(reply.headers["x-consul-lastcontact"], "0");
    let list = get(server, "/v1/kv/doc/?recurse").await;
    assert_contains(&list.json(), &json!([{"Key": "doc/a"}, {"Key": "doc/b", "Value": null}]));
    assert!(list.index() > index);

    let reply = get(server, "/v1/kv/doc/a?raw").await;
    assert_eq!((reply.status, reply.text().as_str(), reply.index()), (200, "value", index));
    assert_eq!(reply.headers["content-type"], "text/plain");
    let reply = get(server, "/v1/kv/doc%2Fa?raw").await;
    assert_eq!(reply.text(), "value");
    for path in ["/v1/kv/doc/none", "/v1/kv/doc/none?raw", "/v1/kv/none/?recurse"] {
        let reply = get(server, path).await;
        assert_eq!((reply.status, reply.body.len()), (404, 0), "{path}: {reply:?}");
        assert!(reply.index() > 0);
    }
}

pub(crate) async fn keys_are_listed_up_to_a_separator(server: &Server) {
    for key in ["sep/a", "sep/b/1", "sep/b/2", "sep/c/d/e"] {
        put(server, &format!("/v1/kv/{key}"), "x").await;
    }
    let keys = async |query: &str| get(server, &format!("/v1/kv/sep/?keys{query}")).await.json();
    assert_eq!(keys("").await, json!(["sep/a", "sep/b/1", "sep/b/2", "sep/c/d/e"]));
    assert_eq!(keys("&separator=/").await, json!(["sep/a", "sep/b/", "sep/c/"]));
    assert_eq!(get(server, "/v1/kv/nosuch/?keys").await.status, 404);
}

pub(crate) async fn contradictions_are_refused(server: &Server) {
    for (method, path, status) in [
        ("PUT", "/v1/kv/", 400),
        ("GET", "/v1/kv/", 400),
        ("DELETE", "/v1/kv/", 400),
        ("PUT", "/v1/kv/no/x?cas=0&acquire=00000000-0000-0000-0000-000000000000", 400),
        ("DELETE", "/v1/kv/no/x?cas=1&recurse", 400),
        ("GET", "/v1/kv/no/x?stale&consistent", 400),
        ("PUT", "/v1/kv/no/x?cas=zz", 500),
        ("PUT", "/v1/kv/no/x?flags=-1", 500),
        ("POST", "/v1/kv/no/x", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
    ] {
        let reply = raw::send(server, method, path, b"x").await;
        assert_eq!(reply.status, status, "{method} {path} gave {reply:?}");
    }
    assert_eq!(get(server, "/v1/kv/no/?recurse").await.status, 404, "nothing was written");
}

pub(crate) async fn consistent_and_stale_reads_answer(server: &Server) {
    let consul = server.consul();
    consul.kv_put("read/x", b"1").await.unwrap();
    let default = consul.kv_get("read/x", Read::default()).await.unwrap();
    assert_eq!(consul.kv_get("read/x", Read::consistent()).await.unwrap(), default);
    assert_eq!(consul.kv_get("read/x", Read::stale()).await.unwrap(), default);
    assert!(consul.leader().await.unwrap().is_some());
    let identity = get(server, "/v1/agent/self").await.json();
    let expected = json!({"Config": {"Datacenter": "dc1", "Server": true}});
    assert_contains(&identity, &expected);
    assert!(identity["Config"]["Version"].as_str().unwrap().starts_with("1."));
    assert!(identity["Config"]["NodeName"].is_string());
}
