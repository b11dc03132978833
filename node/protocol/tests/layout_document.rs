//! The layout document: it fits into Consul, and programs that write it otherwise mean the same one.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use kv_consul::VALUE_BYTES_MAX;
use kv_core::digest::Digest;
use kv_core::layout::{LAYOUT_FORMAT, Layout, Member, Origin, Placement, StrategyPin};
use kv_core::limits::{
    LAYOUT_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX, STRATEGY_CONFIG_BYTES_MAX, WEIGHT_MAX,
    ZONE_BYTES_MAX,
};
use kv_core::partition::PartitionCount;
use uuid::Uuid;

fn layout(members: usize, zone: &str, first: usize) -> Layout {
    let member = |number: usize| Member {
        id: format!("{number:0NAME_BYTES_MAX$}").parse().unwrap(),
        uuid: Uuid::from_u128(u128::MAX - number as u128),
        weight: WEIGHT_MAX,
        zone: zone.to_owned(),
    };
    let config = "c".repeat(STRATEGY_CONFIG_BYTES_MAX);
    let strategy = StrategyPin { name: "consistent-hash".into(), sha256: Digest::of(b"s"), config };
    Layout {
        format: LAYOUT_FORMAT,
        cluster: Uuid::from_u128(u128::MAX),
        epoch: u64::MAX - 100,
        partitions: PartitionCount::new(1 << 16).unwrap(),
        replicas: 1,
        placement: Placement {
            strategy,
            members: (first..first + members).map(member).collect(),
            table: Digest::of(b"t"),
            origin: Origin::Strategy,
        },
        rebalance: None,
    }
}

/// The documents of all steps from `from` to `to`.
fn on_the_way(from: &Layout, to: &Layout) -> Vec<Layout> {
    let lost = from.placement.members.iter().map(|member| member.uuid).take(500).collect();
    let begun = from.begin(to.placement.clone(), lost).unwrap();
    let prepared = begun.prepare(40_000).unwrap();
    let open = prepared.open().unwrap();
    let paused = open.pause(true).unwrap();
    vec![begun, prepared, open, paused]
}

#[test]
fn as_many_members_as_there_may_be_fit_with_the_longest_names_while_all_are_replaced() {
    let zone = "z".repeat(ZONE_BYTES_MAX);
    let from = layout(MEMBERS_MAX, &zone, 0);
    let to = layout(MEMBERS_MAX, &zone, MEMBERS_MAX);
    for layout in on_the_way(&from, &to) {
        let document = layout.to_json();
        assert!(document.len() <= LAYOUT_BYTES_MAX, "{} bytes", document.len());
        assert_eq!(Layout::parse(&document).unwrap(), layout);
    }
}

#[test]
fn what_fits_when_it_is_begun_fits_at_every_step() {
    let longest = on_the_way(&layout(2, "", 0), &layout(2, "", 2));
    let longest = longest.iter().map(|layout| layout.to_json().len()).max().unwrap();
    let begun = on_the_way(&layout(2, "", 0), &layout(2, "", 2))[0].to_json().len();
    assert!(LAYOUT_BYTES_MAX + longest - begun <= VALUE_BYTES_MAX);
}

#[test]
fn a_document_in_another_form_is_the_same_layout_with_the_same_digest() {
    let [begun, ..] = &on_the_way(&layout(2, "west", 0), &layout(3, "east", 0))[..] else {
        panic!("there are several")
    };
    let indented = serde_json::to_vec_pretty(begun).unwrap();
    let compact = begun.to_json();
    assert!(compact.len() < indented.len());
    let [indented_layout, compact_layout] =
        [&indented, &compact].map(|it| Layout::parse(it).unwrap());
    assert_eq!(indented_layout, compact_layout);
    // Programs that write indented documents take the digest of the very bytes.
    assert_eq!(compact_layout.digest(), Digest::of(&indented));
}
