//! What a change needs of Consul in the end, asked before anything has begun: a token that may begin a
//! change and not end it would leave the end to others.

use std::collections::BTreeSet;

use kv_consul::ConsulError;
use kv_core::layout::{Layout, Member};
use kv_registry::{Place, Registry};

use crate::error::RebalanceError;

/// Makes sure that this client may write what the change needs that begins with the layout `begun`.
///
/// # Errors
/// [`RebalanceError::NotAllowed`], or Consul cannot be asked.
pub(crate) async fn check(registry: &Registry, begun: &Layout) -> Result<(), RebalanceError> {
    let desired: BTreeSet<String> = registry.desired_ids().await?.into_iter().collect();
    for place in needed(begun, &desired) {
        match registry.check_writable(&place).await {
            Err(error @ ConsulError::PermissionDenied { .. }) => {
                let key = registry.key_of(&place);
                return Err(RebalanceError::NotAllowed { key, error });
            }
            result => result?,
        }
    }
    Ok(())
}

/// What is written at the end, or may be: the layout, the list of what is left to do, the desired states of
/// members that come or go or are to run, and the claims of those that are given up.
fn needed(begun: &Layout, desired: &BTreeSet<String>) -> Vec<Place> {
    let mut places = vec![Place::Layout, Place::Leavers];
    let rebalance = begun.rebalance.as_ref();
    let after = rebalance.map_or(&[][..], |it| &it.to.members);
    let lost = rebalance.map_or(&[][..], |it| &it.lost);
    let is_in = |members: &[Member], it: &Member| members.iter().any(|other| other.uuid == it.uuid);
    for member in begun.members() {
        let stays = is_in(&begun.placement.members, member) && is_in(after, member);
        if !stays || desired.contains(member.id.as_str()) {
            places.push(Place::Desired(member.id.clone()));
        }
        if lost.contains(&member.uuid) {
            places.push(Place::Claim(member.id.clone()));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use kv_core::sample;

    use super::*;

    #[test]
    fn what_a_change_needs_is_what_its_end_writes() {
        let (three, _) = sample::layout(&[0, 1, 2, 2], 3);
        let (two, _) = sample::placement(&[0, 1, 1, 1], 2);
        let third = three.placement.members[2].uuid;
        let needed = |begun: &Layout, desired: &[&str]| {
            needed(begun, &desired.iter().map(|it| (*it).to_owned()).collect())
        };
        let desired = |id: &str| Place::Desired(id.parse().unwrap());
        let always = [Place::Layout, Place::Leavers];
        let removal = three.begin(two.clone(), Vec::new()).unwrap();
        assert_eq!(needed(&removal, &[]), [&always[..], &[desired("node-2")]].concat());
        let dead = three.begin(two, vec![third]).unwrap();
        let claimed = [desired("node-2"), Place::Claim("node-2".parse().unwrap())];
        assert_eq!(needed(&dead, &[]), [&always[..], &claimed].concat());
        let same = three.begin(three.placement.clone(), Vec::new()).unwrap();
        assert_eq!(needed(&same, &[]), always);
        let launched = [desired("node-1")];
        assert_eq!(needed(&same, &["node-1"]), [&always[..], &launched].concat());
    }
}
