//! The places of the best, of which no zone may have too many.

/// The highest values offered so far, highest first, at most so many of each zone.
pub struct Podium<T> {
    places: Vec<Place<T>>,
    /// The most places there are.
    limit: usize,
    /// The most places that one zone has.
    per_zone: usize,
    /// Kept between calls of `dealt`: for each place its turn in its zone, and the rank.
    dealt: Vec<(usize, u32)>,
}

/// A value and whose it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place<T> {
    /// What decides: of equal values the smaller rank comes first.
    pub value: T,
    /// The node's rank among all nodes' ids.
    pub rank: u32,
    /// The number of its zone.
    pub zone: u32,
}

impl<T: PartialOrd + Copy> Podium<T> {
    /// An empty podium of so many places.
    #[must_use]
    pub fn new(limit: usize, per_zone: usize) -> Self {
        Self { places: Vec::with_capacity(limit), limit, per_zone, dealt: Vec::new() }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// The value that a new one must exceed to have any chance; `None` while there is a place.
    #[must_use]
    pub fn bar(&self) -> Option<T> {
        (self.places.len() == self.limit).then(|| self.places.last().map(|last| last.value))?
    }

    /// The best, highest first.
    pub fn places(&self) -> impl Iterator<Item = &Place<T>> {
        self.places.iter()
    }

    /// Gives the node of `rank` its place, unless enough of all or of its zone are before it. The last
    /// of its zone gives way, or the last of all.
    pub fn offer(&mut self, value: T, rank: u32, zone: u32) {
        let mut at = self.places.len();
        let (mut of_zone, mut last_of_zone) = (0, None);
        for (n, other) in self.places.iter().enumerate() {
            if at > n && (other.value < value || (other.value == value && other.rank > rank)) {
                at = n;
            }
            if other.zone == zone {
                (of_zone, last_of_zone) = (of_zone + 1, Some(n));
            }
        }
        let last_to_go = match last_of_zone {
            Some(last) if of_zone == self.per_zone => last,
            _ if self.places.len() < self.limit => {
                self.places.push(Place { value, rank, zone });
                self.places.len() - 1
            }
            _ => self.limit - 1,
        };
        if at <= last_to_go {
            self.places.copy_within(at..last_to_go, at + 1);
            self.places[at] = Place { value, rank, zone };
        }
    }

    /// The ranks of the first `count` if all zones give in turn: the best of every zone, highest
    /// first, then the second best of every zone, and so on.
    pub fn dealt(&mut self, count: usize) -> impl Iterator<Item = u32> {
        self.dealt.clear();
        for (at, place) in self.places.iter().enumerate() {
            // With one place a zone every node is the best of its zone.
            let before = if self.per_zone == 1 { &[] } else { &self.places[..at] };
            let turn = before.iter().filter(|other| other.zone == place.zone).count();
            self.dealt.push((turn, place.rank));
        }
        // The sort is stable, so those of the same turn stay in the order of their values.
        self.dealt.sort_by_key(|&(turn, _)| turn);
        self.dealt.iter().take(count).map(|&(_, rank)| rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A podium after offers of a value, a rank and a zone each.
    fn podium(limit: usize, per_zone: usize, offers: &[(u32, u32, u32)]) -> Podium<u32> {
        let mut podium = Podium::new(limit, per_zone);
        for &(value, rank, zone) in offers {
            podium.offer(value, rank, zone);
        }
        podium
    }

    fn ranks(podium: &Podium<u32>) -> Vec<u32> {
        podium.places().map(|place| place.rank).collect()
    }

    const OFFERS: [(u32, u32, u32); 6] =
        [(20, 0, 0), (50, 1, 0), (10, 2, 1), (50, 3, 1), (40, 4, 0), (30, 5, 2)];

    #[test]
    fn the_best_of_each_zone_stay_and_the_smaller_rank_of_equals_wins() {
        assert_eq!(ranks(&podium(3, 1, &OFFERS)), [1, 3, 5]);
        assert_eq!(ranks(&podium(2, 1, &OFFERS)), [1, 3]);
        assert_eq!(ranks(&podium(5, 2, &OFFERS)), [1, 3, 4, 5, 2]);
        assert_eq!(ranks(&podium(4, 4, &OFFERS)), [1, 3, 4, 5]);
    }

    #[test]
    fn the_order_of_offers_does_not_matter() {
        let mut backwards = OFFERS;
        backwards.reverse();
        for (limit, per_zone) in [(3, 1), (2, 1), (5, 2), (4, 4)] {
            let forwards = podium(limit, per_zone, &OFFERS);
            assert_eq!(ranks(&podium(limit, per_zone, &backwards)), ranks(&forwards));
        }
    }

    #[test]
    fn there_is_a_bar_when_all_places_are_taken() {
        assert_eq!(podium(3, 1, &OFFERS[..3]).bar(), None);
        assert_eq!(podium(2, 1, &OFFERS[..3]).bar(), Some(10));
    }

    #[test]
    fn zones_give_in_turn() {
        let mut podium = podium(6, 3, &OFFERS);
        assert_eq!(podium.dealt(6).collect::<Vec<_>>(), [1, 3, 5, 4, 2, 0]);
        assert_eq!(podium.dealt(4).collect::<Vec<_>>(), [1, 3, 5, 4]);
    }
}
