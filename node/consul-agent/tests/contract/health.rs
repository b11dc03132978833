use kv_consul::{CheckStatus, Read, ServiceRegistration};
use serde_json::json;

use crate::agent::{await_status, registration};
use crate::raw::{assert_contains, get};
use crate::server::{Server, eventually};

pub(crate) async fn all_instances_are_listed_with_their_status(server: &Server) {
    let consul = server.consul();
    let name = "health-all";
    let statuses = [CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical];
    // Registered in reverse, to see that the answer is sorted.
    for (n, status) in statuses.into_iter().enumerate().rev() {
        let port = 4000 + u16::try_from(n).unwrap();
        let id = format!("{name}-{n}");
        let service =
            ServiceRegistration { port, initial_status: status, ..registration(name, &id) };
        consul.register(&service).await.unwrap();
    }
    let instances = eventually("three instances", async || {
        let instances = consul.service_instances(name, Read::consistent()).await.unwrap();
        assert!(instances.index > 0);
        (instances.value.len() == 3).then_some(instances.value)
    })
    .await;
    for (n, (instance, status)) in instances.iter().zip(statuses).enumerate() {
        assert_eq!(instance.id, format!("{name}-{n}"));
        assert_eq!(usize::from(instance.port), 4000 + n);
        assert_eq!((instance.address.as_str(), instance.status), ("127.0.0.1", status));
        assert_eq!(instance.meta["cluster"], "test");
        assert!(!instance.node.is_empty());
    }
    let passing = get(server, &format!("/v1/health/service/{name}?passing")).await.json();
    assert_contains(&passing, &json!([{"Service": {"ID": "health-all-0"}}]));
    for n in 0..3 {
        consul.deregister(&format!("{name}-{n}")).await.unwrap();
    }
}

pub(crate) async fn the_documents_have_the_documented_members(server: &Server) {
    let consul = server.consul();
    let (name, id) = ("health-doc", "health-doc-0");
    consul.register(&registration(name, id)).await.unwrap();
    consul.check_pass(id, "").await.unwrap();
    await_status(&consul, name, CheckStatus::Passing).await;

    let meta = json!({"cluster": "test", "uuid": "u-1"});
    let check = json!({
        "CheckID": "service:health-doc-0", "Status": "passing", "ServiceID": id,
        "ServiceName": name, "ServiceTags": [], "Type": "ttl",
    });
    let health = get(server, "/v1/health/service/health-doc").await;
    assert!(health.index() > 0);
    let health = health.json();
    let expected = json!([{
        "Node": {"Datacenter": "dc1", "Address": "127.0.0.1"},
        "Service": {
            "ID": id, "Service": name, "Tags": [], "Address": "127.0.0.1", "Port": 2000,
            "Meta": meta,
        },
        "Checks": [{"CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}, check],
    }]);
    assert_contains(&health, &expected);
    let node = &health[0]["Node"]["Node"];
    assert!(node.is_string());
    let created = health[0]["Service"]["CreateIndex"].as_u64().unwrap();
    assert!(created > 0);

    let catalog = get(server, "/v1/catalog/service/health-doc").await;
    assert!(catalog.index() > 0);
    let expected = json!([{
        "Node": node, "Address": "127.0.0.1", "Datacenter": "dc1", "ServiceID": id,
        "ServiceName": name, "ServiceTags": [], "ServiceAddress": "127.0.0.1",
        "ServicePort": 2000, "ServiceMeta": meta, "CreateIndex": created,
    }]);
    assert_contains(&catalog.json(), &expected);

    let checks = get(server, "/v1/health/checks/health-doc").await;
    assert!(checks.index() > 0);
    assert_contains(&checks.json(), &json!([check]));
    let nodes = get(server, "/v1/catalog/nodes").await;
    assert!(nodes.index() > 0);
    let expected = json!([{"Node": node, "Address": "127.0.0.1", "Datacenter": "dc1"}]);
    assert_contains(&nodes.json(), &expected);
    let peers = get(server, "/v1/status/peers").await.json();
    assert_eq!(peers, json!([get(server, "/v1/status/leader").await.json()]));

    let services = get(server, "/v1/catalog/services").await;
    assert!(services.index() > 0);
    assert_eq!(services.json()[name], json!([]));
    for (state, listed) in [("any", true), ("passing", true), ("critical", false), ("odd", false)] {
        let checks = get(server, &format!("/v1/health/state/{state}")).await;
        assert!(checks.index() > 0);
        let checks = checks.json();
        let found = checks.as_array().unwrap().iter().find(|check| check["ServiceID"] == id);
        assert_eq!(found.is_some(), listed, "{state}");
        if let Some(found) = found {
            assert_contains(found, &check);
        }
    }
    consul.deregister(id).await.unwrap();
}

pub(crate) async fn an_unknown_service_has_no_instances(server: &Server) {
    let instances =
        server.consul().service_instances("health-nobody", Read::default()).await.unwrap();
    assert!(instances.index > 0);
    assert!(instances.value.is_empty());
    let catalog = get(server, "/v1/catalog/service/health-nobody").await;
    assert_eq!(catalog.json(), json!([]));
}
