//! A node that others do harm to, and one who looks whether it still serves.

use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster};

/// A node, and a peer that has stored what [`all_is_well`] reads.
pub(super) fn one_node() -> (Cluster, Peer) {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let peer = Peer::req(&cluster.node(0).endpoint());
    peer.ask(r#"{"op":"PUT","key":"witness","value":"well"}"#);
    (cluster, peer)
}

#[track_caller]
pub(super) fn all_is_well(peer: &Peer) {
    let reply = peer.ask(r#"{"op":"GET_ONE","key":"witness"}"#);
    assert_eq!(reply, r#"{"key":"witness","value":"well"}"#);
}
