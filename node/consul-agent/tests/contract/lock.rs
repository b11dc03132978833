use std::time::{Duration, Instant};

use kv_consul::{ConsulError, Read, SessionBehavior, SessionRequest};
use serde_json::json;

use crate::raw::{assert_contains, get, put};
use crate::server::{Server, eventually};

/// The shortest time to live that Consul accepts.
const TTL: Duration = Duration::from_secs(10);

const LOCK_DELAY: Duration = Duration::from_secs(1);

/// A well-formed id that no session has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

fn request(behavior: SessionBehavior) -> SessionRequest {
    SessionRequest { name: "contract".to_owned(), ttl: TTL, lock_delay: LOCK_DELAY, behavior }
}

async fn session(server: &Server, behavior: SessionBehavior) -> String {
    server.consul().session_create(&request(behavior)).await.unwrap()
}

async fn holder(server: &Server, key: &str) -> Option<String> {
    let entry = server.consul().kv_get(key, Read::default()).await.unwrap().value;
    entry.and_then(|entry| entry.session)
}

pub(crate) async fn one_session_at_a_time_holds_a_key(server: &Server) {
    let consul = server.consul();
    let key = "lock/one";
    let (a, b) = (
        session(server, SessionBehavior::Release).await,
        session(server, SessionBehavior::Release).await,
    );
    assert_ne!(a, b);
    assert!(!consul.kv_release(key, b"", &a).await.unwrap(), "nobody holds it");
    assert!(consul.kv_acquire(key, b"a", &a).await.unwrap());
    assert!(!consul.kv_acquire(key, b"b", &b).await.unwrap());
    assert!(!consul.kv_release(key, b"b", &b).await.unwrap());
    assert!(consul.kv_acquire(key, b"a again", &a).await.unwrap());
    let entry = consul.kv_get(key, Read::default()).await.unwrap().value.unwrap();
    assert_eq!((entry.lock_index, entry.session), (1, Some(a.clone())));
    assert_eq!(entry.value, b"a again");
    assert!(consul.kv_release(key, b"free", &a).await.unwrap());
    assert_eq!(holder(server, key).await, None);
    assert!(consul.kv_acquire(key, b"b", &b).await.unwrap(), "a release has no lock delay");
    let entry = consul.kv_get(key, Read::default()).await.unwrap().value.unwrap();
    assert_eq!(entry.lock_index, 2);
    for session in [a, b] {
        assert!(consul.session_renew(&session).await.unwrap());
        consul.session_destroy(&session).await.unwrap();
        assert!(!consul.session_renew(&session).await.unwrap());
        consul.session_destroy(&session).await.unwrap();
    }
}

pub(crate) async fn a_destroyed_session_releases_its_keys_after_the_lock_delay(server: &Server) {
    let consul = server.consul();
    let key = "lock/destroyed";
    let (a, b) = (
        session(server, SessionBehavior::Release).await,
        session(server, SessionBehavior::Release).await,
    );
    assert!(consul.kv_acquire(key, b"a", &a).await.unwrap());
    let started = Instant::now();
    consul.session_destroy(&a).await.unwrap();
    let entry = consul.kv_get(key, Read::default()).await.unwrap().value.unwrap();
    assert_eq!((entry.session, entry.value), (None, b"a".to_vec()));
    eventually("the key can be locked again", async || {
        consul.kv_acquire(key, b"b", &b).await.unwrap().then_some(())
    })
    .await;
    assert!(started.elapsed() >= LOCK_DELAY);
    consul.session_destroy(&b).await.unwrap();
}

pub(crate) async fn a_session_may_take_its_keys_along(server: &Server) {
    let consul = server.consul();
    let session = session(server, SessionBehavior::Delete).await;
    assert!(consul.kv_acquire("lock/gone", b"x", &session).await.unwrap());
    consul.session_destroy(&session).await.unwrap();
    assert_eq!(consul.kv_get("lock/gone", Read::default()).await.unwrap().value, None);
}

pub(crate) async fn a_session_that_is_not_renewed_ends(server: &Server) {
    let consul = server.consul();
    let key = "lock/expired";
    let session = session(server, SessionBehavior::Release).await;
    assert!(consul.kv_acquire(key, b"x", &session).await.unwrap());
    let held = consul.kv_get(key, Read::default()).await.unwrap();
    let started = Instant::now();
    // A blocking query, to see that the end wakes those who wait.
    let read = Read::default().after(held.index, 4 * TTL);
    let freed = consul.kv_get(key, read).await.unwrap();
    assert_eq!(freed.value.unwrap().session, None);
    assert!(started.elapsed() >= TTL && started.elapsed() < 4 * TTL, "{:?}", started.elapsed());
    assert!(!consul.session_renew(&session).await.unwrap());
}

pub(crate) async fn what_is_no_session_is_refused(server: &Server) {
    let consul = server.consul();
    let error = consul.kv_acquire("lock/x", b"", NOBODY).await.unwrap_err();
    let ConsulError::Status { status: 500, excerpt, .. } = &error else { panic!("{error:?}") };
    assert!(excerpt.contains("invalid session"), "{error}");
    assert!(consul.kv_acquire("lock/x", b"", "short").await.is_err());
    assert!(consul.kv_acquire("lock/x", b"", "").await.is_err());
    assert!(!consul.kv_release("lock/x", b"", NOBODY).await.unwrap());
    assert!(!consul.session_renew(NOBODY).await.unwrap());
    assert!(consul.session_renew("short").await.is_err());
    for ttl in [TTL - Duration::from_millis(1), Duration::from_secs(86_401)] {
        let session = SessionRequest { ttl, ..request(SessionBehavior::Release) };
        let error = consul.session_create(&session).await.unwrap_err();
        assert!(error.to_string().contains("Invalid Session TTL"), "{error}");
    }
    for (body, status) in [
        ("{bad", 400),
        (r#"{"TTL":"soon"}"#, 500),
        (r#"{"Behavior":"explode"}"#, 500),
        (r#"{"Node":"nobody"}"#, 500),
        (r#"{"NodeChecks":["nothing"]}"#, 500),
    ] {
        let reply = put(server, "/v1/session/create", body).await;
        assert_eq!(reply.status, status, "{body} gave {reply:?}");
    }
    assert_eq!(consul.kv_get("lock/x", Read::default()).await.unwrap().value, None);
}

pub(crate) async fn sessions_are_listed_with_the_documented_members(server: &Server) {
    let body = r#"{"name":"listed","ttl":"20s","lockdelay":"2s","behavior":"delete"}"#;
    let created = put(server, "/v1/session/create", body).await.json();
    let id = created["ID"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    let expected = json!({
        "ID": id, "Name": "listed", "TTL": "20s", "LockDelay": 2_000_000_000_u64,
        "Behavior": "delete", "NodeChecks": ["serfHealth"],
    });
    let info = get(server, &format!("/v1/session/info/{id}")).await;
    assert_contains(&info.json(), &json!([expected]));
    assert!(info.index() > 0);
    let list = get(server, "/v1/session/list").await.json();
    let listed = list.as_array().unwrap().iter().find(|session| session["ID"] == id).unwrap();
    assert_contains(listed, &expected);
    let renewed = put(server, &format!("/v1/session/renew/{id}"), "").await.json();
    assert_contains(&renewed, &json!([expected]));

    let defaults = put(server, "/v1/session/create", "").await.json();
    let defaults = defaults["ID"].as_str().unwrap();
    let info = get(server, &format!("/v1/session/info/{defaults}")).await.json();
    let expected = json!([{
        "Name": "", "TTL": "", "LockDelay": 15_000_000_000_u64, "Behavior": "release",
    }]);
    assert_contains(&info, &expected);
    for id in [id, defaults] {
        assert_eq!(put(server, &format!("/v1/session/destroy/{id}"), "").await.json(), json!(true));
    }
    assert_eq!(get(server, &format!("/v1/session/info/{id}")).await.json(), json!([]));
}
