//! Which connections are cut where peers hold too much: those that hold most, and no others.

use super::bounds::Bounds;
use super::connection::ConnectionId;
use super::limits::HELD_REQUESTS_TOTAL_MAX;

/// How much memory one connection costs, and for how long it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holding {
    pub(super) id: ConnectionId,
    /// The bytes that were received and not carried out.
    pub(super) inward: u64,
    /// The bytes of replies that have not arrived.
    pub(super) unread: u64,
    /// Whether the peer does not read them.
    pub(super) is_stalled: bool,
    /// The requests that are held back.
    pub(super) held: u64,
}

/// A connection that has to be cut, and why.
pub(super) type Excess = (ConnectionId, String);

/// The connections that have to be cut by these `bounds`. `room_was_short` where a reply was refused because of what others
/// do not read.
pub(super) fn excess(bounds: &Bounds, mut open: Vec<Holding>, room_was_short: bool) -> Vec<Excess> {
    let Bounds {
        inward_bytes_max,
        inward_bytes_total_max,
        unread_bytes_max,
        unread_bytes_full,
        ..
    } = *bounds;
    let mut excess = Vec::new();
    let mut cut =
        |open: &mut Vec<Holding>, greedy: Vec<(ConnectionId, u64)>, why: &dyn Fn(u64) -> String| {
            open.retain(|it| !greedy.iter().any(|(id, _)| *id == it.id));
            excess.extend(greedy.into_iter().map(|(id, amount)| (id, why(amount))));
        };

    let alone = open.iter().filter(|it| it.inward > inward_bytes_max);
    let alone = alone.map(|it| (it.id, it.inward)).collect();
    cut(&mut open, alone, &|bytes| {
        format!(
            "{bytes} bytes of it are received and not yet whole messages that were carried out, the limit is {inward_bytes_max}"
        )
    });

    let greedy = greediest(&open, |it| it.inward, |left| left > inward_bytes_total_max);
    cut(&mut open, greedy, &|bytes| {
        format!(
            "{bytes} bytes of it are received and not yet whole messages that were carried out, the most of any connection, and the limit for all together is {inward_bytes_total_max}"
        )
    });

    let greedy = greediest(&open, |it| it.unread, |left| left > unread_bytes_max);
    cut(&mut open, greedy, &|bytes| {
        format!(
            "it has {bytes} bytes of replies to read, the most of any connection, and the limit for all together is {unread_bytes_max}"
        )
    });

    if room_was_short {
        let total: u64 = open.iter().map(|it| it.unread).sum();
        let stalled: Vec<_> = open.iter().filter(|it| it.is_stalled).copied().collect();
        let others = total - stalled.iter().map(|it| it.unread).sum::<u64>();
        let greedy = greediest(&stalled, |it| it.unread, |left| others + left >= unread_bytes_full);
        cut(&mut open, greedy, &|bytes| {
            format!(
                "it has {bytes} bytes of replies to read and does not read on, while all connections have {total}, which leaves no room for others' replies"
            )
        });
    }

    let greedy = greediest(&open, |it| it.held, |left| left > HELD_REQUESTS_TOTAL_MAX as u64);
    cut(&mut open, greedy, &|count| {
        format!(
            "{count} of its requests wait until it has read their answers, or the disk has done those before them, the most of any connection, and the limit for all together is {HELD_REQUESTS_TOTAL_MAX}"
        )
    });
    excess
}

/// The connections with the greatest `amount`, as many as it takes until the others together are no
/// longer `too_much`.
fn greediest(
    open: &[Holding],
    amount: impl Fn(&Holding) -> u64,
    too_much: impl Fn(u64) -> bool,
) -> Vec<(ConnectionId, u64)> {
    let mut left: u64 = open.iter().map(&amount).sum();
    if !too_much(left) {
        return Vec::new();
    }
    let mut amounts: Vec<_> = open.iter().map(|it| (it.id, amount(it))).collect();
    amounts.sort_unstable_by_key(|(_, amount)| std::cmp::Reverse(*amount));
    let mut greedy = Vec::new();
    for (id, amount) in amounts {
        if amount == 0 || !too_much(left) {
            break;
        }
        left -= amount;
        greedy.push((id, amount));
    }
    greedy
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LARGEST: Bounds = Bounds::within(u64::MAX);

    fn open(count: u64, each: impl Fn(u64) -> Holding) -> Vec<Holding> {
        (1..=count).map(|id| Holding { id, ..each(id) }).collect()
    }

    /// The connections that have to be cut, in order.
    fn cut(open: Vec<Holding>, room_was_short: bool) -> Vec<ConnectionId> {
        let mut ids: Vec<_> =
            excess(&LARGEST, open, room_was_short).into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn within_the_budgets_nobody_is_cut() {
        let each = |_| Holding {
            inward: LARGEST.inward_bytes_total_max / 8,
            unread: LARGEST.unread_bytes_max / 8,
            held: HELD_REQUESTS_TOTAL_MAX as u64 / 8,
            ..Holding::default()
        };
        assert!(cut(open(8, each), true).is_empty());
    }

    #[test]
    fn a_connection_is_cut_for_its_own_excess() {
        let each = |id| Holding {
            inward: LARGEST.inward_bytes_max + u64::from(id == 2),
            ..Holding::default()
        };
        assert_eq!(cut(open(3, each), false), [2]);
    }

    #[test]
    fn where_all_have_too_much_those_that_hold_most_are_cut() {
        let inward = |id| Holding { inward: id * 20 * MIB, ..Holding::default() };
        // 20 to 120 make 420; 1,200 of small ones more than the budget leaves.
        assert!(cut(open(6, inward), false).is_empty());
        let mut many = open(6, inward);
        many.extend((7..1207).map(|id| Holding { id, inward: MIB / 10, ..Holding::default() }));
        assert_eq!(cut(many, false), [6]);

        let unread =
            |id| Holding { unread: if id > 8 { 40 * MIB } else { MIB }, ..Holding::default() };
        assert_eq!(cut(open(16, unread), false).len(), 2);
        let held = |id| Holding { held: id * 10_000, ..Holding::default() };
        assert_eq!(cut(open(7, held), false), [7]);
    }

    #[test]
    fn room_is_made_by_those_that_do_not_read_on() {
        let each = |id: u64| Holding {
            unread: if id.is_multiple_of(2) { 40 * MIB } else { 30 * MIB },
            is_stalled: id <= 3,
            ..Holding::default()
        };
        let open = open(6, each);
        assert!(cut(open.clone(), false).is_empty(), "nobody wants the room");
        assert_eq!(cut(open.clone(), true), [2], "it takes the greatest of the stalled ones only");
        let reading = open.into_iter().map(|it| Holding { is_stalled: false, ..it }).collect();
        assert!(cut(reading, true).is_empty(), "all read on");
    }
}
