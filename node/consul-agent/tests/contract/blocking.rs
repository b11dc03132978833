use std::time::{Duration, Instant};

use kv_consul::{CheckStatus, Indexed, Read, Watch};

use crate::agent::registration;
use crate::raw::get;
use crate::server::{PATIENCE, Server};

/// A wait that a test expects to see the end of.
const SHORT: Duration = Duration::from_millis(500);

/// Room for a busy machine, and for the sixteenth that Consul adds.
const SLACK: Duration = Duration::from_secs(10);

async fn next<T: Clone + PartialEq>(watch: &mut Watch<T>) -> Indexed<T> {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("there is news").unwrap()
}

pub(crate) async fn a_change_ends_the_wait(server: &Server) {
    let consul = server.consul();
    consul.kv_put("block/x", b"1").await.unwrap();
    let before = consul.kv_get("block/x", Read::default()).await.unwrap();
    let started = Instant::now();
    let waiting = tokio::spawn({
        let consul = consul.clone();
        let read = Read::default().after(before.index, 2 * SLACK);
        async move { consul.kv_get("block/x", read).await.unwrap() }
    });
    consul.kv_put("block/x", b"2").await.unwrap();
    let after = waiting.await.unwrap();
    assert!(started.elapsed() < 2 * SLACK, "{:?}", started.elapsed());
    assert!(after.index > before.index);
    assert_eq!(after.value.unwrap().value, b"2");
}

pub(crate) async fn a_wait_without_a_change_ends_in_time(server: &Server) {
    let consul = server.consul();
    consul.kv_put("block/still", b"1").await.unwrap();
    let before = consul.kv_get("block/still", Read::default()).await.unwrap();
    // An index from the future, as after a loss of state, is waited for as well.
    for index in [before.index, before.index + 1_000_000] {
        let started = Instant::now();
        let read = Read::default().after(index, SHORT);
        let after = consul.kv_get("block/still", read).await.unwrap();
        let elapsed = started.elapsed();
        assert!(elapsed >= SHORT && elapsed < SHORT + SLACK, "{elapsed:?}");
        assert_eq!(after, before);
    }
    let services = get(server, "/v1/catalog/services").await;
    let started = Instant::now();
    let path = format!("/v1/catalog/services?index={}&wait=200ms", services.index() + 1_000_000);
    assert_eq!(get(server, &path).await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(200));
}

pub(crate) async fn a_prefix_is_woken_by_its_own_changes_only(server: &Server) {
    let consul = server.consul();
    for key in ["block/p/a", "block/p/b"] {
        consul.kv_put(key, b"1").await.unwrap();
    }
    let list = async |index, wait| {
        consul.kv_list("block/p/", Read::default().after(index, wait)).await.unwrap()
    };
    let before = list(0, SHORT).await;
    consul.kv_put("block/q", b"1").await.unwrap();
    assert_eq!(list(before.index, SHORT).await, before);

    let started = Instant::now();
    consul.kv_delete("block/p/b").await.unwrap();
    let after = list(before.index, 2 * SLACK).await;
    assert!(started.elapsed() < 2 * SLACK);
    assert!(after.index > before.index, "a deletion is news");
    assert_eq!(after.value, before.value[..1]);
    consul.kv_delete("block/p/a").await.unwrap();
    let last = list(after.index, 2 * SLACK).await;
    assert!(last.index > after.index && last.value.is_empty());
}

pub(crate) async fn a_watched_key_is_followed_from_its_creation_to_its_deletion(server: &Server) {
    let consul = server.consul();
    let mut watch = consul.watch_kv("block/watched").unwrap().with_wait(SHORT);
    assert_eq!(next(&mut watch).await.value, None);
    // Other keys change and the wait ends several times; neither is news.
    consul.kv_put("block/other", b"1").await.unwrap();
    assert!(tokio::time::timeout(3 * SHORT, watch.next()).await.is_err());

    for value in [&b"1"[..], b"2"] {
        consul.kv_put("block/watched", value).await.unwrap();
        let news = next(&mut watch).await;
        let entry = news.value.unwrap();
        assert_eq!((entry.value.as_slice(), entry.modify_index), (value, news.index));
    }
    consul.kv_delete("block/watched").await.unwrap();
    assert_eq!(next(&mut watch).await.value, None);
    consul.kv_put("block/watched", b"3").await.unwrap();
    assert_eq!(next(&mut watch).await.value.unwrap().value, b"3");

    let mut prefix = consul.watch_prefix("block/watched").unwrap();
    assert_eq!(next(&mut prefix).await.value.len(), 1);
    consul.kv_put("block/watched/more", b"").await.unwrap();
    assert_eq!(next(&mut prefix).await.value.len(), 2);
}

pub(crate) async fn a_watched_service_is_followed_through_its_states(server: &Server) {
    let consul = server.consul();
    let (name, id) = ("block-service", "block-service-0");
    let mut watch = consul.watch_service(name);
    assert!(next(&mut watch).await.value.is_empty());
    consul.register(&registration(name, id)).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&None) {
        let instances = next(&mut watch).await.value;
        let status = instances.first().map(|instance| instance.status);
        match status {
            Some(CheckStatus::Critical) => consul.check_pass(id, "").await.unwrap(),
            Some(_) => consul.deregister(id).await.unwrap(),
            None => {}
        }
        seen.push(status);
    }
    assert_eq!(seen, [Some(CheckStatus::Critical), Some(CheckStatus::Passing), None]);
}

pub(crate) async fn many_may_wait_at_once(server: &Server) {
    const WATCHERS: usize = 50;
    let consul = server.consul();
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        let mut watch = consul.watch_kv("block/many").unwrap();
        assert_eq!(next(&mut watch).await.value, None);
        watches.push(tokio::spawn(async move { next(&mut watch).await.value }));
    }
    consul.kv_put("block/many", b"go").await.unwrap();
    for watch in watches {
        assert_eq!(watch.await.unwrap().unwrap().value, b"go");
    }
}

pub(crate) async fn what_is_no_index_or_wait_is_refused(server: &Server) {
    for query in ["index=zz", "index=-1", "index=1&wait=zz", "index=1&wait=5"] {
        for path in ["/v1/kv/block/x", "/v1/health/service/x", "/v1/session/list"] {
            let reply = get(server, &format!("{path}?{query}")).await;
            assert_eq!(reply.status, 400, "{path}?{query} gave {reply:?}");
        }
    }
}
