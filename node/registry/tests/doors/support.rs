//! A Consul of the test's own, and layouts to put there.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use kv_consul::{Consul, ConsulConfig};
use kv_consul_agent::{Agent, AgentConfig, AgentLimits};
use kv_core::digest::Digest;
use kv_core::installed::Installed;
use kv_core::layout::{
    LAYOUT_FORMAT, Layout, Member, Origin, Placement, Standing, StrategyPin, Table,
};
use kv_core::partition::PartitionCount;
use kv_registry::Registry;
use tempfile::TempDir;
use uuid::Uuid;

/// The strategy that all layouts here name; no test runs it.
pub(crate) const STRATEGY: &[u8] = b"a component";

/// An agent, and the door of the cluster `c` there.
pub(crate) struct Opened {
    pub(crate) registry: Registry,
    pub(crate) consul: Consul,
    _agent: Agent,
    _directory: TempDir,
}

pub(crate) async fn open() -> Opened {
    let directory = TempDir::new().unwrap();
    let config = AgentConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: directory.path().join("consul"),
        limits: AgentLimits::default(),
    };
    let agent = Agent::start(config).await.unwrap();
    let consul = consul_at(&agent.address().to_string());
    let registry = Registry::new(consul.clone(), "c".parse().unwrap());
    Opened { registry, consul, _agent: agent, _directory: directory }
}

fn consul_at(address: &str) -> Consul {
    Consul::new(&ConsulConfig::resolve(Some(&format!("http://{address}"))).unwrap()).unwrap()
}

/// The door to a server that answers every request with this JSON.
pub(crate) fn scripted(json: String) -> Registry {
    answered(std::iter::repeat(json))
}

/// The door to a server that answers each request with the next one of these texts, and no more requests.
pub(crate) fn scripted_in_turn(answers: Vec<String>) -> Registry {
    answered(answers.into_iter())
}

fn answered(answers: impl Iterator<Item = String> + Send + 'static) -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (stream, json) in listener.incoming().zip(answers) {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let length = json.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            // A client that has heard enough may be gone.
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(json.as_bytes());
        }
    });
    Registry::new(consul_at(&address), "c".parse().unwrap())
}

/// The table of a layout of two nodes and four partitions, all of which belong to the node `owner`.
pub(crate) fn table(owner: u32) -> Table {
    Table::new(&[owner; 4], PartitionCount::new(4).unwrap(), 1, 2).unwrap()
}

/// A layout at rest, of this epoch, by that table.
pub(crate) fn layout(epoch: u64, owner: u32) -> Layout {
    let member = |number: u128| Member {
        id: format!("node-{number}").parse().unwrap(),
        uuid: Uuid::from_u128(number),
        weight: 1,
        zone: String::new(),
    };
    Layout {
        format: LAYOUT_FORMAT,
        cluster: Uuid::from_u128(9),
        epoch,
        partitions: PartitionCount::new(4).unwrap(),
        replicas: 1,
        min_in_sync: 1,
        placement: Placement {
            strategy: StrategyPin {
                name: "s".into(),
                sha256: Digest::of(STRATEGY),
                config: String::new(),
            },
            members: vec![member(0), member(1)],
            table: table(owner).digest(),
            origin: Origin::Strategy,
            replicas: 1,
        },
        rebalance: None,
        standing: Standing::default(),
    }
}

/// The layout as a spare node has installed it.
pub(crate) fn installed(epoch: u64, owner: u32) -> Installed {
    let (tables, strategies) = ([table(owner).to_bytes()], vec![STRATEGY.to_vec()]);
    let spare = Uuid::from_u128(1234);
    Installed::new(layout(epoch, owner), &tables, strategies, spare, None).unwrap()
}
