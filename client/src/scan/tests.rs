//! Scans without nodes: pages of all kinds, and whole scans across the epochs of a rebalance.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kv_core::layout::{Assignment, Goal, Layout, Phase, Rebalance, Table, Window};
use kv_core::partition::{PartitionCount, key_hash};
use proptest::prelude::*;

use super::page::PageRequest;
use super::progress::place;
use super::*;
use kv_core::sample;

fn view(layout: Layout, tables: &[Table]) -> View {
    View::fixed(layout, tables, &HashMap::new()).unwrap()
}

fn record(value: &str) -> Record {
    Record { value: value.into(), version: None }
}

/// A page of these keys, in order.
fn page<K: AsRef<str>>(keys: &[K], next: Option<&str>) -> Page {
    let mut items: Vec<_> =
        keys.iter().map(|key| (key.as_ref().to_owned(), record(key.as_ref()))).collect();
    items.sort_by_key(|(key, _)| key_hash(key));
    Page { items, deleted: Vec::new(), next: next.map(Into::into) }
}

/// Some keys in the order of a scan.
fn ordered(count: usize) -> Vec<String> {
    let mut keys: Vec<String> = (0..count).map(|number| format!("key-{number}")).collect();
    keys.sort_by_key(|key| key_hash(key));
    keys
}

/// Checks a page of a node that owns everything.
fn check(page: &Page, after: Option<&str>, prefix: &str) -> Result<(), String> {
    let (layout, table) = sample::layout(&[0], 1);
    let after = after.map(Into::into);
    let question = PageRequest { partition: None, from: Partition(0), after, prefix };
    question.check(page, &view(layout, &[table]), 0)
}

#[test]
fn pages_that_get_on_are_accepted() {
    let keys = ordered(4);
    let [a, b, c, d] = [&keys[0], &keys[1], &keys[2], &keys[3]];
    assert_eq!(check(&page::<&str>(&[], None), None, ""), Ok(()));
    assert_eq!(check(&page(&[a, b], Some(b)), None, "key-"), Ok(()));
    assert_eq!(check(&page(&[c, d], None), Some(b), "key-"), Ok(()));
    // A page may be empty where few keys have the prefix, as long as the cursor moves.
    assert_eq!(check(&page::<&str>(&[], Some(c)), Some(b), "other"), Ok(()));
}

#[test]
fn pages_that_would_go_round_in_circles_are_refused() {
    let keys = ordered(3);
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]];
    assert!(check(&page::<&str>(&[], Some(b)), Some(b), "").is_err());
    assert!(check(&page(&[b], Some(b)), Some(b), "").is_err());
    assert!(check(&page(&[a], None), Some(b), "").is_err());
    assert!(check(&page(&[b, c], Some(a)), None, "").is_err());
    let mut twice = page(&[b], None);
    twice.items.push(twice.items[0].clone());
    assert!(check(&twice, None, "").is_err());
    assert!(check(&page(&[a], None), None, "prefix").is_err());
}

#[test]
fn pages_of_what_was_not_asked_for_are_refused() {
    let (layout, table) = sample::layout(&[0, 0, 1, 0], 2);
    let count = layout.partitions;
    let view = view(layout, &[table]);
    let keys = ordered(40);
    let in_partition =
        |number| keys.iter().find(|key| count.partition_of(key) == Partition(number)).unwrap();
    let ask = |partition, from, page: &Page| {
        PageRequest { partition, from: Partition(from), after: None, prefix: "" }
            .check(page, &view, 0)
    };
    for number in [1, 3] {
        assert_eq!(ask(None, 1, &page(&[in_partition(number)], None)), Ok(()), "{number}");
    }
    // Before what was asked for, and another node's.
    for number in [0, 2] {
        assert!(ask(None, 1, &page(&[in_partition(number)], None)).is_err(), "{number}");
    }
    assert!(ask(None, 1, &page::<&str>(&[], Some(in_partition(0)))).is_err());
    let only = Some(Partition(1));
    assert_eq!(ask(only, 1, &page(&[in_partition(1)], None)), Ok(()));
    assert!(ask(only, 1, &page(&[in_partition(3)], None)).is_err());
    assert!(ask(only, 1, &page::<&str>(&[], Some(in_partition(3)))).is_err());
}

#[test]
fn the_destination_overrides_the_source_as_far_as_both_pages_go() {
    let keys = ordered(6);
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|index| &*keys[index]);
    let mut destination = page(&[a, c, e], Some(e));
    destination.items[1].1 = record("written since");
    destination.deleted.push(b.to_owned());
    let values = |items: Items| -> BTreeMap<String, Vec<u8>> {
        items.into_iter().map(|(key, record)| (key, record.value)).collect()
    };
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(key, value)| (String::from(*key), Vec::from(*value))).collect()
    };
    let (items, end) = merge(destination.clone(), page(&[b, c, d, f], None));
    assert_eq!(end.as_deref(), Some(e));
    assert_eq!(values(items), expected(&[(a, a), (c, "written since"), (d, d), (e, e)]));
    let (items, end) = merge(destination.clone(), page(&[b, c], Some(c)));
    assert_eq!(end.as_deref(), Some(c));
    assert_eq!(values(items), expected(&[(a, a), (c, "written since")]));
    destination.next = None;
    let (items, end) = merge(destination, Page::default());
    assert_eq!((items.len(), end), (3, None));
    let (items, end) = merge(Page::default(), page(&[b, f], None));
    assert_eq!((items.len(), end), (2, None));
}

/// A cluster without nodes: its records, by node and place.
struct Stores {
    by_node: Vec<BTreeMap<(u64, String), Option<String>>>,
    count: PartitionCount,
}

impl Stores {
    /// The page that `node` gives, of at most `limit` records, as its rules say.
    fn page(&self, view: &View, node: u16, question: &PageRequest<'_>, limit: usize) -> Page {
        let owned = |partition| view.assignments.get(partition) == Some(Assignment::Owned(node));
        let asked = |key: &str| {
            let partition = self.count.partition_of(key);
            let after = question.after.as_deref();
            after.is_none_or(|after| place(after) < place(key))
                && match question.partition {
                    Some(only) => partition == only,
                    None => partition >= question.from && owned(partition),
                }
        };
        let mut records = self.by_node[usize::from(node)]
            .iter()
            .map(|((_, key), value)| (key, value))
            .filter(|(key, _)| asked(key))
            .peekable();
        let mut page = Page::default();
        for (key, value) in records.by_ref().take(limit) {
            match value {
                Some(value) => page.items.push((key.clone(), record(value))),
                None => page.deleted.push(key.clone()),
            }
            page.next = Some(key.clone());
        }
        if records.peek().is_none() {
            page.next = None;
        }
        page
    }

    fn put(&mut self, node: u16, key: &str, value: Option<&str>) {
        let place = (key_hash(key), key.to_owned());
        self.by_node[usize::from(node)].insert(place, value.map(Into::into));
    }

    /// Makes of the moving partitions of `view` what they are once the window is settled.
    fn settle(&mut self, view: &View) {
        for (partition, it) in view.assignments.moves() {
            let Some(source) = it.source.map(usize::from) else { continue };
            let is_in = |key: &str| self.count.partition_of(key) == partition;
            let moved: Vec<_> =
                self.by_node[source].extract_if(.., |(_, key), _| is_in(key)).collect();
            let destination = &mut self.by_node[usize::from(it.destination)];
            for (place, value) in moved {
                destination.entry(place).or_insert(value);
            }
        }
    }
}

const PARTITIONS: u32 = 8;
const NODES: u128 = 3;

/// The layouts of a rebalance from one table to another, window by window, and perhaps back from
/// half-way.
fn layouts(from: &[u32], to: &[u32], width: u32, back: bool) -> Vec<View> {
    let (mut layout, table) = sample::layout(from, NODES);
    let (placement, other) = sample::placement(to, NODES);
    let tables = [table, other];
    let mut views = vec![view(layout.clone(), &tables[..1])];
    layout = layout.begin(placement, Vec::new()).unwrap();
    while let Some(rebalance) = &layout.rebalance {
        views.push(view(layout.clone(), &tables));
        let Rebalance { settled, goal, window, .. } = *rebalance;
        layout = match (window, goal) {
            (Some(Window { phase: Phase::Preparing, .. }), _) => layout.open().unwrap(),
            (Some(_), _) => layout.settle(None).unwrap(),
            (None, Goal::Finish) if back && settled >= PARTITIONS / 2 => {
                layout.turn_back().unwrap()
            }
            (None, Goal::Finish) => layout.prepare((settled + width).min(PARTITIONS)).unwrap(),
            (None, Goal::Undo) => layout.prepare(settled.saturating_sub(width)).unwrap(),
        };
    }
    let rests = tables.iter().position(|it| it.digest() == layout.placement.table).unwrap();
    views.push(view(layout, &tables[rests..=rests]));
    views
}

fn any_table() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0..NODES as u32, PARTITIONS as usize)
}

proptest! {
    #[test]
    fn whatever_moves_meanwhile_every_key_comes_exactly_once(
        from in any_table(),
        to in any_table(),
        width in 1..=PARTITIONS,
        back: bool,
        limit in 1..5_usize,
        // How many pages are read under each layout, and what happens to keys meanwhile.
        pages in proptest::collection::vec(0..6_usize, 1..20),
        events in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..60),
    ) {
        let count = PartitionCount::new(PARTITIONS).unwrap();
        let keys = ordered(60);
        let mut stores = Stores { by_node: vec![BTreeMap::new(); NODES as usize], count };
        for key in &keys {
            stores.put(from[count.partition_of(key).0 as usize] as u16, key, Some(key));
        }
        let views = layouts(&from, &to, width, back);
        let mut progress = Progress::new(count);
        let mut deleted = BTreeSet::new();
        let mut found: Vec<String> = Vec::new();
        let mut events = events.iter();
        let last = views.len() - 1;
        for (number, view) in views.iter().enumerate() {
            let pages = if number == last { usize::MAX } else { pages[number % pages.len()] };
            // The nodes copy, and take deletions, while the window is open.
            for (_, it) in view.assignments.moves().filter(|(partition, _)| {
                matches!(view.assignments.get(*partition), Some(Assignment::Moving(_)))
            }) {
                let Some((index, event)) = events.next() else { break };
                let key = index.get(&keys);
                let is_there = view.assignment(key).unwrap().1 == Assignment::Moving(it);
                match event {
                    _ if !is_there || deleted.contains(key) => {}
                    0 => stores.put(it.destination, key, Some(key)),
                    1 => {
                        stores.put(it.destination, key, None);
                        deleted.insert(key.clone());
                    }
                    _ => {}
                }
            }
            read(&stores, view, &mut progress, pages, limit, &mut found)?;
            if views.get(number + 1).is_some_and(|next| settles(view, next)) {
                stores.settle(view);
            }
        }
        let complete = progress.plan(&views[last].assignments);
        prop_assert_eq!(complete, Plan { parts: Vec::new(), frozen: None });
        let distinct: BTreeSet<_> = found.iter().cloned().collect();
        prop_assert_eq!(distinct.len(), found.len(), "no key comes twice");
        let stable = keys.iter().filter(|key| !deleted.contains(*key));
        for key in stable {
            prop_assert!(distinct.contains(key), "{} is missing", key);
        }
    }
}

/// Whether the open window of `view` is settled in `next`.
fn settles(view: &View, next: &View) -> bool {
    let is_open =
        |view: &View| view.assignments.iter().any(|(_, it)| matches!(it, Assignment::Moving(_)));
    is_open(view) && !is_open(next)
}

/// Reads at most so many pages under one layout.
fn read(
    stores: &Stores,
    view: &View,
    progress: &mut Progress,
    pages: usize,
    limit: usize,
    found: &mut Vec<String>,
) -> Result<(), TestCaseError> {
    let mut left = pages;
    for part in progress.plan(&view.assignments).parts {
        loop {
            let partitions = match &part {
                Part::Node { partitions, .. } => &partitions[..],
                Part::Moving { partition, .. } => std::slice::from_ref(partition),
            };
            let Some((from, after)) = progress.first_of(partitions) else { break };
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            let items = match &part {
                Part::Node { node, partitions } => {
                    let question = PageRequest { partition: None, from, after, prefix: "" };
                    let page = stores.page(view, *node, &question, limit);
                    prop_assert_eq!(question.check(&page, view, *node), Ok(()));
                    progress.note_of_node(partitions, from, page)
                }
                Part::Moving { partition, ends } => {
                    let question = PageRequest { partition: Some(from), from, after, prefix: "" };
                    let at = |node| stores.page(view, node, &question, limit);
                    let (destination, source) =
                        (at(ends.destination), ends.source.map(at).unwrap_or_default());
                    prop_assert_eq!(question.check(&destination, view, ends.destination), Ok(()));
                    let (items, next) = merge(destination, source);
                    progress.note_of_partition(*partition, next);
                    items
                }
            };
            found.extend(items.into_iter().map(|(key, _)| key));
        }
    }
    Ok(())
}
