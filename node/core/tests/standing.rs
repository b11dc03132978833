//! The steps by which copies leave the set of those in sync and come back, and what they make of each row.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::collections::BTreeSet;

use kv_core::copies::term::Term;
use kv_core::copies::{Positions, Row};
use kv_core::digest::Digest;
use kv_core::layout::{
    Assignment, Assignments, Document, LAYOUT_FORMAT, LAYOUT_FORMAT_BEFORE, Layout, LayoutError,
    Member, Origin, Placement, Standing, StrategyPin, Table,
};
use kv_core::limits::STANDING_EPOCHS;
use kv_core::partition::{Partition, PartitionCount};
use proptest::prelude::*;
use uuid::Uuid;

const PARTITIONS: u32 = 8;
const NODES: u16 = 4;
/// The rows of all partitions: the first four partitions have the same one.
const ROWS: [[u32; 3]; PARTITIONS as usize] =
    [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1], [3, 2, 1]];

fn table() -> Table {
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    Table::new(ROWS.as_flattened(), partitions, 3, usize::from(NODES)).unwrap()
}

/// A layout at rest, of epoch 5, of four nodes and three copies, two of which a write needs.
fn layout() -> Layout {
    let member = |number: u16| Member {
        id: format!("node-{number}").parse().unwrap(),
        uuid: Uuid::from_u128(u128::from(number)),
        weight: 1,
        zone: String::new(),
    };
    let strategy =
        StrategyPin { name: "test".into(), sha256: Digest::of(b"test"), config: String::new() };
    let placement = Placement {
        strategy,
        members: (0..NODES).map(member).collect(),
        table: table().digest(),
        origin: Origin::Strategy,
        replicas: 3,
    };
    Layout {
        format: LAYOUT_FORMAT,
        cluster: Uuid::from_u128(99),
        epoch: 5,
        partitions: PartitionCount::new(PARTITIONS).unwrap(),
        replicas: 3,
        min_in_sync: 2,
        placement,
        rebalance: None,
        standing: Standing::default(),
    }
}

fn rows(layout: &Layout) -> Assignments {
    Assignments::new(layout, &[table()]).unwrap()
}

fn row(layout: &Layout, partition: u32) -> Row {
    rows(layout).row(Partition(partition)).unwrap()
}

fn evict(layout: &Layout, node: u16, reporter: u16) -> Layout {
    layout.evict(&rows(layout), &[node], reporter).unwrap()
}

fn admit(layout: &Layout, node: u16, partitions: &[u32]) -> Layout {
    layout.admit(&rows(layout), node, &set(partitions)).unwrap()
}

fn set(partitions: &[u32]) -> BTreeSet<Partition> {
    partitions.iter().copied().map(Partition).collect()
}

fn read(layout: &Layout) -> Result<Layout, LayoutError> {
    Document::parse(&layout.to_json())?.layout(&layout.blobs())
}

/// The partitions in whose rows the node is out of sync.
fn learns(layout: &Layout, node: u16) -> Vec<u32> {
    let is_out = |it: &u32| {
        let row = row(layout, *it);
        row.position(node).is_some() && !row.is_in_sync(node)
    };
    (0..PARTITIONS).filter(is_out).collect()
}

#[test]
fn all_copies_are_in_sync_at_first_and_the_first_is_the_primary() {
    let layout = layout();
    assert_eq!(read(&layout).unwrap(), layout);
    for (partition, nodes) in ROWS.iter().enumerate() {
        let row = row(&layout, partition as u32);
        assert!(row.nodes().iter().map(|it| u32::from(*it)).eq(*nodes));
        assert!(row.learners().is_empty());
        let owner = rows(&layout).get(Partition(partition as u32));
        assert_eq!(owner, Some(Assignment::Owned(nodes[0] as u16)));
    }
    assert_eq!(rows(&layout).row(Partition(PARTITIONS)), None);
    let view = rows(&layout).view(Partition(1)).unwrap();
    assert_eq!((view.since, view.installed), (0, 5));
}

#[test]
fn who_is_evicted_is_out_of_all_rows_that_it_shares_with_the_reporter() {
    let evicted = evict(&layout(), 0, 1);
    assert_eq!((evicted.epoch, learns(&evicted, 0)), (6, vec![0, 1, 2, 3, 6]));
    assert_eq!(read(&evicted).unwrap(), evicted);
    let rows = rows(&evicted);
    assert_eq!(rows.get(Partition(0)), Some(Assignment::Owned(1)), "the next one is primary");
    assert_eq!(rows.get(Partition(6)), Some(Assignment::Owned(3)));
    let views = [0, 4, 5].map(|it| rows.view(Partition(it)).unwrap().since);
    assert_eq!(views, [6, 0, 0]);
    let said = evicted.standing.row(Partition(0));
    assert_eq!((said.since(), said.out_since(0)), (6, Some(6)));
    // The rest of it, as another node sees it.
    assert_eq!(learns(&evict(&evicted, 0, 2), 0), [0, 1, 2, 3, 5, 6]);
}

#[test]
fn several_nodes_that_are_silent_are_evicted_in_one_step() {
    let layout = layout();
    let evicted = layout.evict(&rows(&layout), &[0, 2], 1).unwrap();
    assert_eq!(learns(&evicted, 0), [0, 1, 2, 3, 6]);
    assert_eq!(learns(&evicted, 2), [0, 1, 2, 3, 4, 7]);
    assert_eq!(row(&evicted, 0).in_sync(), Positions::default().with(1));
    assert!(layout.leads_to(&evicted));
}

#[test]
fn what_an_eviction_leaves_too_few_in_sync_is_known_before() {
    let layout = layout();
    assert_eq!(layout.left_short(&rows(&layout), &[0], 1), []);
    let evicted = evict(&layout, 0, 1);
    let short = evicted.left_short(&rows(&evicted), &[2], 1);
    assert_eq!(short, [0, 1, 2, 3].map(Partition));
    assert!(evicted.evict(&rows(&evicted), &[2], 1).is_ok(), "that it waits is the reporter's");
    assert_eq!(layout.left_short(&rows(&layout), &[0, 2], 1), [0, 1, 2, 3].map(Partition));
}

#[test]
fn who_gives_its_places_up_leaves_those_where_another_is_in_sync() {
    let alone = evict(&evict(&layout(), 0, 1), 2, 1);
    let given_up = evict(&alone, 1, 1);
    assert_eq!(learns(&given_up, 1), [4, 6, 7]);
    assert_eq!(row(&given_up, 0).primary(), 1, "the last one stays");
    let refused = alone.evict(&rows(&alone), &[1, 3], 1).unwrap_err();
    assert!(refused.to_string().contains("its own places and others'"), "{refused}");
}

#[test]
fn who_is_admitted_is_in_sync_in_these_rows_and_no_others() {
    let evicted = evict(&layout(), 0, 1);
    let admitted = admit(&evicted, 0, &[1, 3]);
    assert_eq!((admitted.epoch, learns(&admitted, 0)), (7, vec![0, 2, 6]));
    assert_eq!(row(&admitted, 1).primary(), 0, "the first one is primary again");
    assert_eq!(read(&admitted).unwrap(), admitted);
    let whole = admit(&admitted, 0, &[0, 2, 6]);
    assert!(learns(&whole, 0).is_empty());
    assert_eq!(rows(&whole).view(Partition(1)).unwrap().since, 7);
    let mut later = Layout { epoch: 8 + STANDING_EPOCHS, ..whole };
    later = evict(&later, 3, 2);
    let listed: Vec<u32> = later.standing.listed().map(|(partition, _)| partition.0).collect();
    assert_eq!(
        (later.standing.floor(), listed),
        (8, vec![4, 5, 7]),
        "what is long whole is folded"
    );
}

#[test]
fn steps_that_would_be_wrong_are_refused() {
    let layout = layout();
    let evicted = evict(&layout, 0, 1);
    let rows = rows(&evicted);
    assert_eq!(learns(&evict(&evicted, 2, 0), 2), [5], "a learner has no say");
    for (nodes, reporter) in [(&[0][..], 1), (&[9], 1), (&[1], 9), (&[], 1)] {
        assert!(evicted.evict(&rows, nodes, reporter).is_err(), "{nodes:?} by {reporter}");
    }
    for (node, partitions) in
        [(0, &[5][..]), (0, &[4]), (0, &[0, 5]), (1, &[0]), (9, &[0]), (0, &[8]), (0, &[])]
    {
        let refused = evicted.admit(&rows, node, &set(partitions));
        assert!(refused.is_err(), "{node} in {partitions:?}");
    }
    let other = layout.evict(&rows, &[3], 1).unwrap_err();
    assert!(other.to_string().contains("other rows"), "{other}");
    let before = Layout { format: LAYOUT_FORMAT_BEFORE, ..layout.clone() };
    assert!(before.fence().unwrap_err().to_string().contains("the format before"));
    assert!(before.evict(&self::rows(&before), &[0], 1).is_err());
    assert!(before.left_short(&self::rows(&before), &[0], 1).is_empty());
    let begun = layout.begin(layout.placement.clone(), Vec::new()).unwrap_err();
    assert!(begun.to_string().contains("more than one copy"), "{begun}");
    let one = Placement { replicas: 1, ..layout.placement.clone() };
    let alone = Layout { placement: one.clone(), ..layout.clone() };
    assert!(alone.begin(layout.placement.clone(), Vec::new()).is_err());
    assert!(alone.begin(one.clone(), Vec::new()).is_ok());
    assert!(layout.begin(one.clone(), Vec::new()).is_err());
    // Nor is such a rebalance read that something else has begun.
    let begun = alone.begin(one, Vec::new()).unwrap();
    let forged = Layout { placement: layout.placement.clone(), ..begun };
    assert!(read(&forged).unwrap_err().to_string().contains("more than one copy"));
    assert!(Assignments::new(&forged, &[table(), table()]).is_err());
    assert!(alone.fence().is_err(), "no node promises anything");
}

#[test]
fn a_document_names_the_standing_where_it_says_anything() {
    let layout = layout();
    let names_one =
        |layout: &Layout| String::from_utf8(layout.to_json()).unwrap().contains("standing");
    assert!(!names_one(&layout) && layout.blobs().len() == 1);
    let evicted = evict(&layout, 0, 1);
    assert!(names_one(&evicted) && evicted.blobs().len() == 2);
    assert_ne!(
        evicted.digest(),
        Layout { standing: Standing::default(), ..evicted.clone() }.digest()
    );
    let document = || Document::parse(&evicted.to_json()).unwrap();
    let [members, standing] = &evicted.blobs()[..] else { panic!("two") };
    for blobs in [vec![members.clone()], vec![members.clone(), standing[1..].to_vec()]] {
        let error = document().layout(&blobs).unwrap_err();
        assert!(matches!(error, LayoutError::Standing(_)) && error.is_of_a_blob(), "{error}");
    }
    // One that is no standing of this layout.
    let refused = |change: &dyn Fn(&mut Layout)| {
        let mut layout = evicted.clone();
        change(&mut layout);
        read(&layout).unwrap_err().to_string()
    };
    assert!(refused(&|it| it.epoch = 5).contains("later epoch"));
    assert!(refused(&|it| it.partitions = PartitionCount::new(4).unwrap()).contains("partition 6"));
    assert!(refused(&|it| it.placement.replicas = 1).contains("of 1"));
    assert!(
        Assignments::new(
            &Layout { partitions: PartitionCount::new(4).unwrap(), ..evicted.clone() },
            &[table()]
        )
        .is_err()
    );
    let inline =
        String::from_utf8(Layout { format: LAYOUT_FORMAT_BEFORE, ..evicted.clone() }.to_json())
            .unwrap();
    let named =
        inline.replacen('{', &format!("{{\"standing\":\"{}\",", evicted.standing.digest()), 1);
    let error = Document::parse(named.as_bytes()).unwrap().layout(&[]).unwrap_err();
    assert!(error.to_string().contains("has format 2, and a standing"), "{error}");
}

#[test]
fn what_no_step_makes_of_rows_leads_nowhere() {
    let evicted = evict(&layout(), 0, 1);
    let admitted = admit(&evicted, 0, &[1, 3]);
    let again = admitted.republished(8);
    assert!(!admitted.leads_to(&again) && read(&again).is_ok());
    assert_eq!(rows(&again).view(Partition(5)).unwrap().since, 8);
    let standing =
        |standing: &Standing| Layout { standing: standing.clone(), epoch: 7, ..evicted.clone() };
    assert!(evicted.leads_to(&standing(&evicted.standing)), "a fence");
    assert!(evicted.leads_to(&standing(&admitted.standing)));
    let both = evict(&admitted, 3, 1);
    for strange in [
        // Without what was said; of another epoch than its own; of a step that leads somewhere else.
        standing(&Standing::default()),
        standing(&evict(&layout(), 3, 1).standing),
        standing(&both.standing),
        Layout { epoch: 8, ..standing(&admitted.standing) },
        Layout { min_in_sync: 1, ..standing(&admitted.standing) },
    ] {
        assert!(!evicted.leads_to(&strange), "{strange:?}");
    }
    // All copies of a row are evicted; one that it does not have; one of a partition that there is not.
    for bytes in [
        &[1, 0, 6, 1, 0, 7, 0, 0, 0, 1, 0][..],
        &[1, 0, 6, 1, 0, 8, 0, 1, 0],
        &[1, 0, 6, 1, 0, 2, 0, 1, 8],
    ] {
        let standing = Standing::parse(bytes).unwrap();
        assert!(!layout().leads_to(&Layout { epoch: 6, standing, ..layout() }), "{bytes:?}");
    }
    let one = Standing::parse(&[1, 0, 6, 1, 0, 2, 0, 1, 0]).unwrap();
    assert!(layout().leads_to(&Layout { epoch: 6, standing: one, ..layout() }));
    // Once something is admitted, and something else is evicted.
    let one = Layout { standing: evict(&admitted, 3, 1).standing, epoch: 8, ..evicted.clone() };
    assert!(!Layout { epoch: 7, ..evicted }.leads_to(&one));
}

#[test]
fn a_primary_that_missed_an_eviction_makes_the_copy_equal_anew() {
    let evicted = evict(&layout(), 1, 0);
    let again = evict(&admit(&evicted, 1, &[0]), 1, 0);
    let mut term = Term::begin(row(&evicted, 0), None);
    term.note_equal(1);
    term.note_equal(2);
    assert!(term.serve(false));
    let mut term = term.install(row(&again, 0), again.epoch);
    assert!(term.equal().contains(1), "it was a learner before, and is one now");
    let missed = again.standing.row(Partition(0)).evicted_after(evicted.epoch);
    missed.iter().for_each(|it| term.note_end(it));
    assert!(!term.promise(1, true));
    assert_eq!(again.standing.row(Partition(3)).evicted_after(evicted.epoch), Positions::default());
}

/// A step of a walk: of this kind, by and of nodes, in these partitions.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    node: u16,
    other: u16,
    partitions: BTreeSet<u32>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partitions = proptest::collection::btree_set(0..PARTITIONS, 1..5);
    let step = (0..8_u8, 0..NODES, 0..NODES, partitions);
    let step =
        step.prop_map(|(kind, node, other, partitions)| Step { kind, node, other, partitions });
    proptest::collection::vec(step, 0..80)
}

fn take(layout: &Layout, step: &Step) -> Option<Layout> {
    let rows = rows(layout);
    match step.kind {
        0 => layout.fence().ok(),
        1..4 => layout.evict(&rows, &[step.node], step.other).ok(),
        _ => {
            let is_out = |it: &Partition| learns(layout, step.node).contains(&it.0);
            let partitions = step.partitions.iter().copied().map(Partition).filter(is_out);
            layout.admit(&rows, step.node, &partitions.collect()).ok()
        }
    }
}

proptest! {
    /// After any steps in any order, each row has a copy in sync, what is said of it is never older than what
    /// happened to it, and no more than sixteen epochs newer; and each step is one, and no two are.
    #[test]
    fn a_row_is_never_empty_and_its_epochs_never_go_back(steps in steps()) {
        let mut now = layout();
        let mut before = None::<(Layout, bool)>;
        let mut changed = [0_u64; PARTITIONS as usize];
        for step in steps {
            let Some(next) = take(&now, &step) else { continue };
            prop_assert_eq!(next.epoch, now.epoch + 1);
            prop_assert!(now.leads_to(&next) && !next.leads_to(&now) && !now.leads_to(&now));
            if let Some((before, is_eviction)) = before {
                prop_assert!(!before.leads_to(&next));
                // Not for its number alone: the rows tell of the step between.
                let late = Layout { epoch: now.epoch, ..before };
                prop_assert!(!is_eviction || !late.leads_to(&next));
            }
            prop_assert_eq!(&read(&next).unwrap(), &next);
            let (ours, theirs) = (rows(&now), rows(&next));
            for (partition, changed) in (0..).map(Partition).zip(&mut changed) {
                let [a, b] = [&ours, &theirs].map(|it| it.view(partition).unwrap());
                prop_assert!(!b.row.in_sync().is_empty());
                prop_assert_eq!(theirs.get(partition), Some(Assignment::Owned(b.row.primary())));
                if a.row != b.row {
                    *changed = next.epoch;
                    prop_assert_eq!(b.since, next.epoch);
                }
                prop_assert!(a.since <= b.since && *changed <= b.since && b.since <= next.epoch);
                prop_assert!(b.since == *changed || b.since + STANDING_EPOCHS <= next.epoch);
                let evicted = next.standing.row(partition).evicted_after(now.epoch);
                prop_assert_eq!(evicted, a.row.in_sync().minus(b.row.in_sync()));
            }
            before = Some((std::mem::replace(&mut now, next), (1..4).contains(&step.kind)));
        }
    }
}
