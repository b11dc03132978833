use std::time::Duration;

use kv_consul::Read;
use kv_registry::Registry;
use kv_registry::members::{Description, Registered as _};
use uuid::Uuid;

use crate::support::open;

#[tokio::test]
async fn nodes_of_all_clusters_are_instances_and_each_says_whose_it_is() {
    let it = open().await;
    let other = Registry::new(it.consul.clone(), "default".parse().unwrap());
    let described = Description {
        uuid: Uuid::from_u128(7),
        incarnation: None,
        weight: 3,
        zone: "rack-1".into(),
        host: "127.0.0.1".into(),
    };
    let id = "node-1".parse().unwrap();
    for registry in [&it.registry, &other] {
        let service = registry.registration(&id, &described, 2000, Duration::from_secs(10));
        it.consul.register(&service).await.unwrap();
    }
    let instances = it.registry.instances(Read::consistent()).await.unwrap();
    let ids: Vec<&str> = instances.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["c.node-1", "node-1"]);
    let ours: Vec<bool> = instances.iter().map(|one| it.registry.is_ours(one)).collect();
    assert_eq!(ours, [true, false]);
    assert_eq!((instances[0].uuid(), instances[0].port), (Some(described.uuid), 2000));
    assert!(it.registry.sees_all_instances().await.unwrap());
    let mut changes = it.registry.instance_changes();
    assert_eq!(changes.next().await.unwrap().value, instances);
}
