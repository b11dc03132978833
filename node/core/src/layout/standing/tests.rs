//! What a standing says after steps, and its bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::layout::LayoutError;
use crate::limits::{PARTITIONS_MAX, REPLICAS_MAX, TABLE_ENTRIES_MAX};

const CAPACITY: usize = REPLICAS_MAX as usize;

/// A row that changed in `since`, in which the copies at these positions are out since these epochs.
fn row(since: u64, out: &[(usize, u64)]) -> RowStanding {
    let learners: Positions = out.iter().map(|(position, _)| *position).collect();
    let mut epochs = out.iter().map(|(_, epoch)| *epoch);
    RowStanding::read(since, learners, || epochs.next()).unwrap()
}

fn standing(floor: u64, rows: &[(u32, RowStanding)]) -> Standing {
    Standing::of(floor, &rows.iter().map(|(it, row)| (Partition(*it), *row)).collect())
}

/// The example of the recorded bytes.
fn recorded() -> Standing {
    let first_out = row(9, &[(0, 9)]);
    let rows = [(3, first_out), (7, first_out), (200, row(8, &[])), (4, row(12, &[(1, 6)]))];
    standing(5, &rows)
}

const RECORDED: [u8; 20] = [1, 5, 12, 3, 4, 0, 1, 0xc8, 1, 3, 1, 0, 2, 3, 3, 0, 2, 6, 1, 4];

fn problem(bytes: &[u8]) -> String {
    match Standing::parse(bytes).unwrap_err() {
        LayoutError::Standing(problem) => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn its_bytes_are_the_recorded_ones() {
    assert_eq!(recorded().to_bytes(), RECORDED);
    assert_eq!(Standing::parse(&RECORDED).unwrap(), recorded());
    let digest = "15a8ba733b466dcbcf5e050fe4b80df6c22fbd4085708041819d7353784df2bd";
    assert_eq!(recorded().digest().to_string(), digest);
    assert_eq!(standing(300, &[]).to_bytes(), [1, 0xac, 2, 0, 0]);
}

#[test]
fn what_is_not_listed_is_whole_and_changed_at_the_floor_at_the_latest() {
    let it = recorded();
    assert_eq!(it.row(Partition(5)), RowStanding::whole(5));
    let out = it.row(Partition(4));
    assert_eq!((out.since(), out.out_since(1), out.out_since(0)), (12, Some(6), None));
    assert_eq!((out.learners(), it.learners()), (Positions::default().with(1), 3));
    assert_eq!(
        (out.evicted_after(5), out.evicted_after(6)),
        (out.learners(), Positions::default())
    );
    assert!(!it.is_silent() && !Standing::whole(1).is_silent() && Standing::whole(0).is_silent());
    assert_eq!(it.listed().map(|(partition, _)| partition.0).collect::<Vec<_>>(), [3, 4, 7, 200]);
}

#[test]
fn bytes_that_no_program_writes_are_refused() {
    let with = |place: usize, byte: u8| {
        let mut bytes = RECORDED;
        bytes[place] = byte;
        bytes
    };
    assert!(problem(&[]).contains("empty"));
    assert!(problem(&with(0, 2)).contains("format"));
    assert!(problem(&[1, 0, 0, 0]).contains("says nothing"));
    assert!(problem(&vec![1; STANDING_BYTES_MAX + 1]).contains("longer"));
    // There is one way to write a number, and one latest epoch.
    let strange: [&[u8]; 3] = [&[1, 0x85, 0, 0, 0], &[1, 5, 12, 1, 1, 0, 1, 1], &[1, 5, 12, 0]];
    for bytes in strange {
        assert!(problem(bytes).contains("form in which"), "{bytes:?}");
    }
    let impossible: [&[u8]; 11] = [
        // Out of order, and twice, and of no row, and of more rows than there are bytes.
        &[1, 5, 12, 2, 0, 0, 1, 1, 1, 0, 1, 2],
        &[1, 5, 12, 2, 0, 0, 1, 1, 0, 0, 1, 2],
        &[1, 5, 12, 1, 0, 0, 0],
        &[1, 5, 12, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 0],
        // A partition twice, and one that no cluster has.
        &[1, 5, 12, 2, 1, 0, 1, 2, 0, 0, 1, 2],
        &[1, 5, 12, 1, 0, 0, 1, 0x80, 0x80, 4],
        // A whole row that says no more than the floor, and one without any copy in sync.
        &[1, 12, 12, 1, 0, 0, 1, 2],
        &[1, 5, 12, 1, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2],
        // Epochs before the first one.
        &[1, 5, 12, 1, 12, 1, 0, 1, 2],
        &[1, 5, 12, 1, 0, 1, 12, 1, 2],
        // More that is said than there are bytes.
        &[1, 5, 12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ];
    for bytes in impossible {
        assert!(problem(bytes).contains("cannot be"), "{bytes:?}");
    }
}

#[test]
fn it_is_one_of_the_rows_and_of_the_epoch_of_its_layout() {
    let eight = PartitionCount::new(8).unwrap();
    let check = |it: &Standing| it.check(12, eight, 2);
    let two_out = [(0, 6), (1, 9)];
    assert!(check(&Standing::default()).is_ok() && check(&Standing::whole(12)).is_ok());
    assert!(check(&standing(5, &[(7, row(12, &[(1, 6)]))])).is_ok());
    assert!(check(&Standing::whole(13)).unwrap_err().contains("later epoch"));
    assert!(check(&standing(0, &[(7, row(13, &[]))])).unwrap_err().contains("later epoch"));
    assert!(check(&standing(0, &[(8, row(12, &[]))])).unwrap_err().contains("partition 8"));
    assert!(check(&standing(0, &[(7, row(12, &[(2, 6)]))])).unwrap_err().contains("of 2"));
    assert!(check(&standing(0, &[(7, row(12, &two_out))])).unwrap_err().contains("in sync"));
    assert!(standing(0, &[(7, row(12, &two_out))]).check(12, eight, 3).is_ok());
}

#[test]
fn rows_that_have_been_whole_for_long_are_folded_into_the_floor() {
    let rows = [(1, row(10, &[])), (2, row(11, &[])), (3, row(9, &[(0, 9)])), (4, row(12, &[]))];
    let it = standing(5, &rows);
    assert_eq!(it.after([], 25), it);
    assert_eq!(it.after([], 26), standing(10, &rows[1..]));
    assert_eq!(it.after([], 27), standing(11, &rows[2..]));
    assert_eq!(it.after([], 99), standing(12, &rows[2..3]), "what is out stays, as it is");
    let admitted = row(9, &[(0, 9)]).admit(Positions::first(1), 99);
    assert_eq!(it.after([(Partition(3), admitted)], 99), standing(12, &[(3, row(99, &[]))]));
}

#[test]
fn what_is_published_again_may_have_changed_then() {
    let again = recorded().republished(50);
    let out = |position| row(50, &[(position, 50)]);
    assert_eq!(again, standing(50, &[(3, out(0)), (7, out(0)), (4, out(1))]));
}

#[test]
fn a_node_out_of_a_third_of_all_rows_takes_a_byte_for_each() {
    let rows = (0..PARTITIONS_MAX).filter(|it| it % 3 == 0);
    let out = |it: u32| (it, row(1 << 40, &[(it as usize / 3 % 3, 1 << 40)]));
    let it = standing(1 << 39, &rows.map(out).collect::<Vec<_>>());
    let length = it.to_bytes().len();
    assert!(length < PARTITIONS_MAX as usize / 3 + 64, "{length} bytes");
}

/// The rows of the most partitions that there can be with so many copies, of each of which something else is said,
/// of epochs before `epoch` that are as far from each other as can be.
fn all_different(replicas: usize, epoch: u64) -> Standing {
    let partitions =
        (0..=16).map(|it| 1 << it).filter(|it| it * replicas <= TABLE_ENTRIES_MAX as usize);
    let partitions = partitions.max().unwrap().min(PARTITIONS_MAX as usize) as u64;
    let out = |number: u64| {
        let since = epoch / 2 + number * (epoch / 2 / partitions);
        let out = (0..replicas - 1).map(|it| (it, 1 + number * (it as u64 + 1)));
        row(since, &out.collect::<Vec<_>>())
    };
    standing(0, &(0..partitions).map(|it| (it as u32, out(it))).collect::<Vec<_>>())
}

#[test]
fn rows_of_the_most_different_pasts_are_told_apart_less() {
    let epoch = 1 << 40;
    for replicas in 2..=CAPACITY {
        let before = all_different(replicas, epoch);
        let is_too_long = before.to_bytes().len() > STANDING_BYTES_MAX;
        let after = before.after([], epoch);
        assert!(after.to_bytes().len() <= STANDING_BYTES_MAX, "{replicas} copies");
        assert!(before.listed().zip(after.listed()).all(|((a, before), (b, after))| {
            let later = |it| after.out_since(it) >= before.out_since(it);
            a == b
                && before.learners() == after.learners()
                && after.since() >= before.since()
                && (0..CAPACITY).all(later)
        }));
        assert_eq!(before == after, !is_too_long, "{replicas} copies");
        let latest = after.listed().map(|(_, it)| it.since()).max();
        assert!(after.floor() <= epoch && latest <= Some(epoch));
    }
    assert!(all_different(3, epoch).to_bytes().len() > 2 * STANDING_BYTES_MAX);
}

#[test]
fn whatever_is_said_of_late_epochs_there_is_room_for_it() {
    // As in the documentation of the bytes: a row's partition takes at most as many as its number, and what is said
    // of it the copies' and two besides. With what comes first: a format and three numbers.
    for replicas in 2..=u64::from(REPLICAS_MAX) {
        let partitions = (0..=16).map(|it| 1_u64 << it);
        let partitions =
            partitions.filter(|it| it * replicas <= u64::from(TABLE_ENTRIES_MAX)).max().unwrap();
        let of_partition = |it: u64| {
            if it < 1 << 7 {
                1
            } else if it < 1 << 14 {
                2
            } else {
                3
            }
        };
        let rows: u64 = (0..partitions).map(|it| replicas + 2 + of_partition(it)).sum();
        assert!(1 + 10 + 10 + 3 + rows <= STANDING_BYTES_MAX as u64, "{replicas} copies: {rows}");
    }
}

fn any_row() -> impl Strategy<Value = RowStanding> {
    let since = prop_oneof![1..40_u64, 1..=u64::MAX];
    (since, proptest::collection::vec(proptest::option::of(1..=u64::MAX), 0..CAPACITY)).prop_map(
        |(since, out)| {
            let out = out.into_iter().enumerate();
            let out = out.filter_map(|(position, it)| Some((position, it? % since + 1)));
            row(since, &out.collect::<Vec<_>>())
        },
    )
}

fn any_standing() -> impl Strategy<Value = Standing> {
    let rows = proptest::collection::btree_map(0..PARTITIONS_MAX, any_row(), 0..60);
    (0..40_u64, rows).prop_map(|(floor, rows)| {
        let rows = rows.into_iter().map(|(it, row)| (Partition(it), row));
        let rows: BTreeMap<_, _> =
            rows.filter(|(_, it)| !it.is_whole() || it.since() > floor).collect();
        Standing::of(floor, &rows)
    })
}

proptest! {
    #[test]
    fn bytes_round_trip_and_no_others_are_read(it in any_standing(), place: usize, byte: u8) {
        let bytes = it.to_bytes();
        if it.is_silent() {
            prop_assert!(Standing::parse(&bytes).is_err());
            return Ok(());
        }
        prop_assert_eq!(&Standing::parse(&bytes).unwrap(), &it);
        for length in 0..bytes.len() {
            prop_assert!(Standing::parse(&bytes[..length]).is_err(), "{} bytes", length);
        }
        prop_assert!(Standing::parse(&[&bytes[..], &[byte]].concat()).is_err());
        let mut other = bytes.clone();
        other[place % bytes.len()] = byte;
        if let Ok(read) = Standing::parse(&other) {
            prop_assert_eq!(read.to_bytes(), other);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        for bytes in [bytes.clone(), [&[1][..], &bytes].concat()] {
            if let Ok(it) = Standing::parse(&bytes) {
                prop_assert_eq!(it.to_bytes(), bytes);
            }
        }
    }
}
