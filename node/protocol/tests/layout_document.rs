//! The layout document: it fits into Consul, and programs that write it otherwise mean the same one.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use kv_consul::VALUE_BYTES_MAX;
use kv_core::digest::Digest;
use kv_core::layout::{
    Blob, Document, LAYOUT_FORMAT, LAYOUT_FORMAT_BEFORE, Layout, Member, Origin, Placement,
    Standing, StrategyPin,
};
use kv_core::limits::{
    MEMBERS_MAX, NAME_BYTES_MAX, STANDING_BYTES_MAX, STRATEGY_CONFIG_BYTES_MAX, WEIGHT_MAX,
    ZONE_BYTES_MAX,
};
use kv_core::partition::PartitionCount;
use uuid::Uuid;

const _: () = assert!(STANDING_BYTES_MAX <= VALUE_BYTES_MAX);

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
        min_in_sync: 1,
        placement: Placement {
            strategy,
            members: (first..first + members).map(member).collect(),
            table: Digest::of(b"t"),
            origin: Origin::Strategy,
            replicas: 1,
        },
        rebalance: None,
        standing: Standing::default(),
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

fn read(json: &[u8], layout: &Layout) -> Layout {
    Document::parse(json).unwrap().layout(&layout.blobs()).unwrap()
}

#[test]
fn as_many_members_as_there_may_be_fit_with_the_longest_names_while_all_are_replaced() {
    // What has to be escaped in JSON takes twice its bytes.
    let zone = "\\".repeat(ZONE_BYTES_MAX);
    let from = layout(MEMBERS_MAX, &zone, 0);
    let to = layout(MEMBERS_MAX, &zone, MEMBERS_MAX);
    for layout in on_the_way(&from, &to) {
        let document = layout.to_json();
        assert!(document.len() <= VALUE_BYTES_MAX, "{} bytes", document.len());
        assert_eq!(layout.blobs().len(), 2);
        for list in layout.blobs() {
            assert!(list.len() <= VALUE_BYTES_MAX, "{} bytes", list.len());
        }
        assert_eq!(read(&document, &layout), layout);
    }
}

#[test]
fn a_document_is_short_however_many_members_there_are() {
    let document = |members| layout(members, "west", 0).to_json().len();
    assert_eq!(document(1), document(MEMBERS_MAX));
}

#[test]
fn a_document_in_another_form_is_the_same_layout_with_the_same_digest() {
    let [begun, ..] = &on_the_way(&layout(2, "west", 0), &layout(3, "east", 0))[..] else {
        panic!("there are several")
    };
    for format in [LAYOUT_FORMAT, LAYOUT_FORMAT_BEFORE] {
        let begun = Layout { format, ..begun.clone() };
        let compact = begun.to_json();
        let value: serde_json::Value = serde_json::from_slice(&compact).unwrap();
        let reordered = serde_json::to_vec_pretty(&value).unwrap();
        assert!(compact.len() < reordered.len());
        assert_eq!(read(&reordered, &begun), begun);
        assert_eq!(read(&compact, &begun).digest(), begun.digest());
    }
}

#[test]
fn a_document_of_the_format_before_is_read_and_keeps_its_digest() {
    // As the program of that format wrote it, and its digest, of the same indented by two spaces.
    let json = include_bytes!("layout_of_format_2.json");
    let document = Document::parse(json).unwrap();
    assert_eq!(document.blobs(), []);
    assert_eq!(document.digest(), Digest::of(json));
    let layout = document.layout(&[]).unwrap();
    assert_eq!((layout.replicas, layout.min_in_sync, layout.placement.replicas), (1, 1, 1));
    assert_eq!(layout.placement.members.len(), 2);
    assert!(layout.begin(layout.placement.clone(), Vec::new()).is_err(), "it is taken over first");
    let next = layout.upgrade().unwrap();
    assert_eq!((next.epoch, next.format), (layout.epoch + 1, LAYOUT_FORMAT));
    assert!(layout.leads_to(&next) && next.upgrade().is_err());
    assert_eq!(next.placement, layout.placement);
}

#[test]
fn a_document_of_the_present_format_is_the_recorded_one() {
    let json = include_bytes!("layout_of_format_3.json");
    let members = include_bytes!("members_of_format_3.json");
    let document = Document::parse(json).unwrap();
    assert_eq!(document.blobs(), [Blob::Members(Digest::of(members))]);
    assert_eq!(document.digest(), Digest::of(json));
    let layout = document.layout(&[members.to_vec()]).unwrap();
    assert_eq!((layout.replicas, layout.min_in_sync, layout.placement.replicas), (2, 1, 2));
    assert_eq!(layout.digest(), Digest::of(json));
    assert_eq!(layout.blobs(), [members]);
    let is_space = |it: &u8| it.is_ascii_whitespace();
    let compact: Vec<u8> = json.iter().copied().filter(|it| !is_space(it)).collect();
    assert_eq!(layout.to_json(), compact);
}

#[test]
fn a_standing_is_named_at_the_end_of_the_document() {
    let recorded = include_bytes!("layout_of_format_3.json");
    let members = include_bytes!("members_of_format_3.json").to_vec();
    let layout = Document::parse(recorded).unwrap().layout(std::slice::from_ref(&members)).unwrap();
    let standing = Standing::whole(layout.epoch);
    let named = Layout { standing: standing.clone(), ..layout.clone() };
    let (json, digest) = (String::from_utf8(named.to_json()).unwrap(), standing.digest());
    let without = String::from_utf8(layout.to_json()).unwrap();
    let before = without.strip_suffix('}').unwrap();
    assert_eq!(json, format!("{before},\"standing\":\"{digest}\"}}"));
    let document = Document::parse(json.as_bytes()).unwrap();
    assert_eq!(document.blobs(), [Blob::Members(Digest::of(&members)), Blob::Standing(digest)]);
    assert_eq!(named.blobs(), [members, standing.to_bytes()]);
    assert_eq!(read(json.as_bytes(), &named), named);
    // A blob that says nothing is none that a document names.
    let silent = Standing::default().to_bytes();
    let json = json.replace(&digest.to_string(), &Digest::of(&silent).to_string());
    let blobs = [layout.blobs().remove(0), silent];
    let error = Document::parse(json.as_bytes()).unwrap().layout(&blobs).unwrap_err();
    assert!(error.to_string().contains("it says nothing"), "{error}");
}

#[test]
fn members_that_the_document_does_not_name_are_refused() {
    let (ours, other) = (layout(2, "west", 0), layout(2, "east", 0));
    let document = || Document::parse(&ours.to_json()).unwrap();
    for lists in [Vec::new(), other.blobs(), vec![b"[]".to_vec()]] {
        let error = document().layout(&lists).unwrap_err();
        assert!(error.to_string().contains("members are invalid"), "{error}");
    }
    assert_eq!(document().layout(&ours.blobs()).unwrap(), ours);
}
