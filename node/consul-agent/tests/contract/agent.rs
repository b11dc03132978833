use std::time::Duration;

use kv_consul::{CheckStatus, Consul, ConsulError, Read, ServiceRegistration};
use serde_json::json;

use crate::raw::{self, assert_contains, get, put};
use crate::server::{Server, eventually};

/// A registration whose check outlives every test.
pub(crate) fn registration(name: &str, id: &str) -> ServiceRegistration {
    ServiceRegistration {
        name: name.to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 2000,
        meta: [("cluster", "test"), ("uuid", "u-1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        check_ttl: Duration::from_secs(600),
        initial_status: CheckStatus::Critical,
    }
}

/// Waits until the catalog says that the only instance of a service has this status.
pub(crate) async fn await_status(consul: &Consul, name: &str, status: CheckStatus) {
    eventually(&format!("{name} is {status:?}"), async || {
        let instances = consul.service_instances(name, Read::default()).await.unwrap().value;
        (instances.len() == 1 && instances[0].status == status).then_some(())
    })
    .await;
}

pub(crate) async fn a_service_is_registered_reported_on_and_removed(server: &Server) {
    let consul = server.consul();
    let (name, id) = ("agent-life", "agent-life-0");
    assert_eq!(consul.agent_service(id).await.unwrap(), None);
    consul.register(&registration(name, id)).await.unwrap();
    let service = consul.agent_service(id).await.unwrap().unwrap();
    assert_eq!((service.id.as_str(), service.name.as_str()), (id, name));
    assert_eq!((service.address.as_str(), service.port), ("127.0.0.1", 2000));
    assert_eq!(service.meta, registration(name, id).meta);
    await_status(&consul, name, CheckStatus::Critical).await;
    consul.check_pass(id, "serving & well").await.unwrap();
    await_status(&consul, name, CheckStatus::Passing).await;
    let checks = get(server, "/v1/agent/checks").await.json();
    let expected = json!({
        "CheckID": "service:agent-life-0", "Name": "Service 'agent-life' check",
        "Status": "passing", "Output": "serving & well", "ServiceID": id, "ServiceName": name,
    });
    assert_contains(&checks["service:agent-life-0"], &expected);
    consul.check_fail(id, "").await.unwrap();
    await_status(&consul, name, CheckStatus::Critical).await;
    let warn = put(server, "/v1/agent/check/warn/service:agent-life-0?note=hm", "").await;
    assert_eq!((warn.status, warn.body.len()), (200, 0));
    await_status(&consul, name, CheckStatus::Warning).await;
    let update = r#"{"Status":"passing","Output":"o"}"#;
    let update = put(server, "/v1/agent/check/update/service:agent-life-0", update).await;
    assert_eq!(update.status, 200, "{update:?}");
    await_status(&consul, name, CheckStatus::Passing).await;

    consul.deregister(id).await.unwrap();
    assert_eq!(consul.agent_service(id).await.unwrap(), None);
    eventually("the catalog has no instance", async || {
        let instances = consul.service_instances(name, Read::default()).await.unwrap();
        instances.value.is_empty().then_some(())
    })
    .await;
    consul.deregister(id).await.unwrap();
}

pub(crate) async fn a_forgotten_check_is_told_apart(server: &Server) {
    let consul = server.consul();
    let (name, id) = ("agent-forgotten", "agent-forgotten-0");
    for attempt in 0..2 {
        let error = consul.check_pass(id, "").await.unwrap_err();
        let ConsulError::UnknownCheck { check_id } = &error else { panic!("{error:?}") };
        assert_eq!(check_id, "service:agent-forgotten-0");
        assert!(matches!(
            consul.check_fail(id, "").await.unwrap_err(),
            ConsulError::UnknownCheck { .. }
        ));
        consul.register(&registration(name, id)).await.unwrap();
        consul.check_pass(id, "").await.unwrap();
        consul.deregister(id).await.unwrap_or_else(|error| panic!("{attempt}: {error}"));
    }
}

pub(crate) async fn a_check_that_is_not_passed_becomes_critical(server: &Server) {
    let consul = server.consul();
    let (name, id) = ("agent-ttl", "agent-ttl-0");
    let short = ServiceRegistration {
        check_ttl: Duration::from_secs(1),
        initial_status: CheckStatus::Passing,
        ..registration(name, id)
    };
    consul.register(&short).await.unwrap();
    consul.check_pass(id, "here").await.unwrap();
    await_status(&consul, name, CheckStatus::Passing).await;
    await_status(&consul, name, CheckStatus::Critical).await;
    let checks = get(server, "/v1/agent/checks").await.json();
    let output = checks["service:agent-ttl-0"]["Output"].as_str().unwrap();
    assert!(output.starts_with("TTL expired"), "{output}");
    consul.check_pass(id, "back").await.unwrap();
    await_status(&consul, name, CheckStatus::Passing).await;
    consul.deregister(id).await.unwrap();
}

pub(crate) async fn registering_again_replaces_the_service(server: &Server) {
    let consul = server.consul();
    let (name, id) = ("agent-again", "agent-again-0");
    consul.register(&registration(name, id)).await.unwrap();
    consul.check_pass(id, "").await.unwrap();
    await_status(&consul, name, CheckStatus::Passing).await;
    let moved = ServiceRegistration { port: 3000, ..registration(name, id) };
    consul.register(&moved).await.unwrap();
    eventually("the catalog has the new port", async || {
        let instances = consul.service_instances(name, Read::default()).await.unwrap().value;
        (instances.len() == 1 && instances[0].port == 3000).then_some(())
    })
    .await;
    // The initial status is for new checks only.
    await_status(&consul, name, CheckStatus::Passing).await;
    consul.check_fail(id, "").await.unwrap();
    await_status(&consul, name, CheckStatus::Critical).await;
    consul.deregister(id).await.unwrap();
}

pub(crate) async fn what_is_not_understood_is_refused(server: &Server) {
    for body in [
        "",
        "{bad",
        "{}",
        "[]",
        r#"{"Name":""}"#,
        r#"{"Name":5}"#,
        r#"{"Name":"agent-bad","Bogus":1}"#,
        r#"{"Name":"agent-bad","Port":"5"}"#,
        r#"{"Name":"agent-bad","Check":{"TTL":"soon"}}"#,
        r#"{"Name":"agent-bad","Check":{"TTL":"10s","Status":"fine"}}"#,
        r#"{"Name":"agent-bad","Check":{"HTTP":"http://127.0.0.1"}}"#,
        r#"{"Name":"agent-bad","Meta":{"not a key":"x"}}"#,
    ] {
        let reply = put(server, "/v1/agent/service/register", body).await;
        assert_eq!(reply.status, 400, "{body} gave {reply:?}");
        assert!(!reply.body.is_empty());
    }
    let meta = |pairs: usize, key: usize, value: usize| {
        let meta: serde_json::Map<_, _> =
            (0..pairs).map(|n| (format!("{n:0>key$}"), "v".repeat(value).into())).collect();
        json!({"Name": "agent-meta", "Meta": meta}).to_string()
    };
    for (body, status) in [
        (meta(64, 128, 512), 200),
        (meta(65, 128, 512), 400),
        (meta(1, 129, 512), 400),
        (meta(1, 128, 513), 400),
    ] {
        let reply = put(server, "/v1/agent/service/register", body).await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
    put(server, "/v1/agent/service/deregister/agent-meta", "").await;

    let update = put(server, "/v1/agent/check/update/x", r#"{"Status":"fine"}"#).await;
    assert_eq!(update.status, 400, "{update:?}");
    let update = put(server, "/v1/agent/check/update/x", "{bad").await;
    assert_eq!(update.status, 400, "{update:?}");
    let wrong = raw::send(server, "GET", "/v1/agent/service/deregister/x", b"").await;
    assert_eq!(wrong.status, 405, "{wrong:?}");
    assert_eq!(server.consul().agent_service("agent-bad").await.unwrap(), None);
}

pub(crate) async fn names_of_members_may_be_in_lower_case(server: &Server) {
    let body = r#"{"name":"agent-lower","id":"agent-lower-0","address":"127.0.0.1","port":7,
        "tags":["t"],"meta":{"Key":"v"},"check":{"ttl":"60s","status":"passing"}}"#;
    let reply = put(server, "/v1/agent/service/register", body).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0), "{reply:?}");
    let services = get(server, "/v1/agent/services").await.json();
    let expected = json!({
        "ID": "agent-lower-0", "Service": "agent-lower", "Tags": ["t"], "Meta": {"Key": "v"},
        "Port": 7, "Address": "127.0.0.1",
    });
    assert_contains(&services["agent-lower-0"], &expected);
    await_status(&server.consul(), "agent-lower", CheckStatus::Passing).await;
    server.consul().deregister("agent-lower-0").await.unwrap();
}

pub(crate) async fn checks_without_an_id_are_named_after_their_service(server: &Server) {
    let check = r#"{"TTL":"600s"}"#;
    for (members, expected) in [
        (format!(r#""Checks":[{check}]"#), vec!["service:agent-ids-0"]),
        (
            format!(r#""Check":{check},"Checks":[{check},{{"CheckID":"mine","TTL":"600s"}}]"#),
            vec!["mine", "service:agent-ids-0:1", "service:agent-ids-0:2"],
        ),
    ] {
        let body = format!(r#"{{"Name":"agent-ids","ID":"agent-ids-0",{members}}}"#);
        let reply = put(server, "/v1/agent/service/register", body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let checks = get(server, "/v1/agent/checks").await.json();
        let ids: Vec<&str> = checks
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, check)| check["ServiceID"] == "agent-ids-0")
            .map(|(id, _)| id.as_str())
            .collect();
        assert_eq!(ids, expected);
        server.consul().deregister("agent-ids-0").await.unwrap();
    }
}
