//! A member that answers and does not follow the layout, since its way to Consul is cut: nothing is begun
//! with it, and a rebalance under way waits for it without keeping any client from its keys.

use std::net::SocketAddr;
use std::time::Duration;

use kv_testkit::harness::catalog::wait_for_nodes;
use kv_testkit::harness::proxy::{Proxy, Traffic};
use kv_testkit::harness::run::Running;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use tokio::runtime::Runtime;

use super::{assert_holds, epoch, import, status, wait_until_moving};

on_both_backends!(
    nothing_is_begun_with_a_member_that_does_not_reach_consul,
    a_member_that_is_cut_off_meanwhile_keeps_nobody_waiting_and_is_given_up_on,
);

/// How many layouts may follow one another once nothing can get on: the end of the window that is being
/// moved, one more that is prepared and taken back.
const LAST_LAYOUTS_MAX: u64 = 4;

/// Three nodes, the last of which reaches Consul by a proxy.
struct Cut {
    // Ends before the runtime that it is served by.
    proxy: Proxy,
    cluster: Cluster,
    _runtime: Runtime,
}

impl Cut {
    #[track_caller]
    fn start(backend: Backend) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let mut cluster = Cluster::without_layout(backend, 2);
        let consul: SocketAddr = cluster.consul().parse().expect("it is an address");
        let proxy = Proxy::before_consul(runtime.handle(), consul);
        let consul = proxy.address().to_string();
        cluster.add_node(&["--id", "node-2", "--port", "0", "--consul", &consul]);
        cluster.create_layout(&[]);
        Self { proxy, cluster, _runtime: runtime }
    }

    /// Cuts the way, or mends it, and waits until Consul has noticed.
    #[track_caller]
    fn set(&self, traffic: Traffic) {
        self.proxy.set(traffic);
        let health = if traffic == Traffic::Flows { "passing" } else { "critical" };
        let nodes = [("node-0", "passing"), ("node-1", "passing"), ("node-2", health)];
        wait_for_nodes(&self.cluster, &nodes);
    }
}

fn nothing_is_begun_with_a_member_that_does_not_reach_consul(backend: Backend) {
    let cut = Cut::start(backend);
    let lines = import(&cut.cluster, 2_000);
    cut.set(Traffic::IsRefused);
    let before = epoch(&cut.cluster);
    for change in [
        &["migrate", "--to", "consistent-hash"][..],
        &["remove-node", "node-1"],
        &["remove-node", "node-2"],
        &["set-node", "node-0", "--weight", "3"],
        &["plan", "migrate", "--to", "consistent-hash"],
    ] {
        let refused = cut.cluster.kvclient(change).output().code(3);
        let refused = refused.says(&["node node-2 answers, and cannot follow", "reaches Consul"]);
        assert!(!refused.stderr_text().contains("--dead"), "{refused}");
        assert_eq!(epoch(&cut.cluster), before, "{change:?}");
    }
    cut.set(Traffic::Flows);
    cut.cluster.kvclient(&["remove-node", "node-1"]).output().success();
    assert_holds(&cut.cluster, &lines);
}

/// Begins a slow move, and cuts the last node off once it is under way.
#[track_caller]
fn cut_off_while_moving(cut: &Cut) -> Running {
    let slowly = ["migrate", "--to", "consistent-hash", "--throttle", "2"];
    let mover = cut.cluster.kvclient(&slowly).spawn();
    wait_until_moving(&cut.cluster);
    cut.proxy.set(Traffic::IsRefused);
    mover
}

fn a_member_that_is_cut_off_meanwhile_keeps_nobody_waiting_and_is_given_up_on(backend: Backend) {
    let cut = Cut::start(backend);
    // More than fits a window.
    let lines = import(&cut.cluster, 200_000);
    let mover = cut_off_while_moving(&cut);
    eventually("the mover to wait", Duration::from_secs(120), || {
        let status = status(&cut.cluster);
        let waiting = status["mover"]["waiting"].as_str().unwrap_or_default().to_owned();
        if waiting.contains("node-2") { Ok(()) } else { Err(status.to_string()) }
    });
    let waits_since = epoch(&cut.cluster);
    let given_up = mover.output().code(3);
    given_up.says(&[
        "node node-2 answers, and cannot follow the layout",
        "see that it reaches Consul",
        "kvclient rebalance resume",
    ]);
    let stuck = status(&cut.cluster)["layout"].clone();
    let last = stuck["epoch"].as_u64().expect("it has an epoch");
    assert!(last <= waits_since + LAST_LAYOUTS_MAX, "{waits_since} to {last}");
    assert!(stuck["rebalance"]["window"].is_null(), "nothing is frozen: {stuck}");
    // Keys of the other nodes are read and written, also those that were moving.
    let probes: String = (0..60)
        .map(|number| format!("probe-{number}"))
        .filter(|key| {
            let place = cut.cluster.kvclient(&["locate", key, "--output", "json"]).output();
            place.success().json()["node"] != "node-2"
        })
        .map(|key| format!("{{\"key\":\"{key}\",\"value\":\"v\"}}\n"))
        .collect();
    assert!(probes.lines().count() > 10, "{probes}");
    cut.cluster.kvclient(&["import"]).stdin(probes.clone()).output().success();

    cut.set(Traffic::Flows);
    cut.cluster.kvclient(&["rebalance", "resume"]).output().success();
    assert_eq!(status(&cut.cluster)["layout"]["strategy"], "consistent-hash");
    assert_holds(&cut.cluster, &(lines + &probes));
}
