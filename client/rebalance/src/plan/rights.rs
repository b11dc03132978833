//! What a change needs of Consul in the end, asked before anything has begun: a token that may begin a
//! change and not end it would leave the end to others.

use std::collections::BTreeSet;

use kv_consul::{ConsulError, Read};
use kv_core::layout::{Layout, Member};
use kv_core::name::Name;
use kv_registry::keys;
use kvclient::admin::Registry;

use crate::error::RebalanceError;

/// Makes sure that this client may write what the change needs that begins with the layout `begun`.
///
/// # Errors
/// [`RebalanceError::NotAllowed`], or Consul cannot be asked.
pub(crate) async fn check(registry: &Registry, begun: &Layout) -> Result<(), RebalanceError> {
    let Registry { consul, cluster, .. } = registry;
    let signals = consul.kv_keys(&keys::signals(cluster), Read::consistent()).await?.value;
    let signals: BTreeSet<String> = signals.into_iter().collect();
    for key in needed(cluster, begun, &signals) {
        match consul.kv_check_writable(&key).await {
            Err(error @ ConsulError::PermissionDenied { .. }) => {
                return Err(RebalanceError::NotAllowed { key, error });
            }
            result => result?,
        }
    }
    Ok(())
}

/// The keys that are written at the end, or may be: the layout, the list of what is left to do, the
/// signals of members that come or go or have one, and the claims of those that are given up.
fn needed(cluster: &Name, begun: &Layout, signals: &BTreeSet<String>) -> Vec<String> {
    let mut keys = vec![keys::layout(cluster), keys::leaving(cluster)];
    let rebalance = begun.rebalance.as_ref();
    let after = rebalance.map_or(&[][..], |it| &it.to.members);
    let lost = rebalance.map_or(&[][..], |it| &it.lost);
    let is_in = |members: &[Member], it: &Member| members.iter().any(|other| other.uuid == it.uuid);
    for member in begun.members() {
        let signal = keys::signal(cluster, &member.id);
        let stays = is_in(&begun.placement.members, member) && is_in(after, member);
        if !stays || signals.contains(&signal) {
            keys.push(signal);
        }
        if lost.contains(&member.uuid) {
            keys.push(keys::claim(cluster, &member.id));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use kv_core::sample;

    use super::*;

    #[test]
    fn what_a_change_needs_is_what_its_end_writes() {
        let cluster: Name = "c".parse().unwrap();
        let (three, _) = sample::layout(&[0, 1, 2, 2], 3);
        let (two, _) = sample::placement(&[0, 1, 1, 1], 2);
        let third = three.placement.members[2].uuid;
        let needed = |begun: &Layout, signals: &[&str]| {
            needed(&cluster, begun, &signals.iter().map(|it| (*it).to_owned()).collect())
        };
        let always = ["kv/c/layout", "kv/c/leaving"];
        let removal = three.begin(two.clone(), Vec::new()).unwrap();
        assert_eq!(needed(&removal, &[]), [&always[..], &["kv/c/desired/node-2"]].concat());
        let dead = three.begin(two, vec![third]).unwrap();
        let claimed = ["kv/c/desired/node-2", "kv/c/nodes/node-2"];
        assert_eq!(needed(&dead, &[]), [&always[..], &claimed].concat());
        let same = three.begin(three.placement.clone(), Vec::new()).unwrap();
        assert_eq!(needed(&same, &[]), always);
        let launched = ["kv/c/desired/node-1"];
        assert_eq!(needed(&same, &launched), [&always[..], &launched].concat());
    }
}
