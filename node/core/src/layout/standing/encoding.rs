//! The bytes of a standing.
//!
//! The first one is the format, 1. What follows are numbers, as LEB128 in as few bytes as they need: the floor; the
//! latest epoch in which a listed row changed, or 0; how many different things are said of rows. Then these, in
//! ascending order of what is said, each followed by its rows:
//!
//! - how long before that latest epoch the row changed last;
//! - the positions that are out of sync, as a set of bits, the lowest for the first position;
//! - for each of these, how long before the row's last change it has been so;
//! - how many rows there are, and their partitions: the first as it is, the others as the number of those that lie
//!   between.
//!
//! A standing has one form: bytes that would be written otherwise are refused, so that what is equal has one digest.
//!
//! # How long it can be
//!
//! One node out of a third of 65,536 partitions is three things that are said, and a byte for each row. In the
//! worst case another thing is said of each row: one byte for each copy and two besides for what is said, where no
//! epoch is far back (see [`Standing::after`]), and no more for the rows than their partitions take. That is
//! below [`STANDING_BYTES_MAX`] for all numbers of copies of which tables have room.

use super::{RowStanding, Standing};
use crate::copies::Positions;
use crate::layout::LayoutError;
use crate::limits::{PARTITIONS_MAX, REPLICAS_MAX, STANDING_BYTES_MAX};
use crate::partition::Partition;

/// The version of this form.
const FORMAT: u8 = 1;

impl Standing {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut rows = vec![Vec::new(); self.said.len()];
        self.rows.iter().for_each(|(partition, place)| rows[usize::from(*place)].push(partition.0));
        let latest = self.said.last().map_or(0, RowStanding::since);
        let mut bytes = vec![FORMAT];
        put(&mut bytes, self.floor);
        put(&mut bytes, latest);
        put(&mut bytes, self.said.len() as u64);
        for (said, partitions) in self.said.iter().zip(rows) {
            put(&mut bytes, latest - said.since());
            let learners = said.learners();
            bytes.push(learners.iter().fold(0, |bits, it| bits | 1 << it));
            let out = learners.iter().filter_map(|it| said.out_since(it));
            out.for_each(|it| put(&mut bytes, said.since() - it));
            put(&mut bytes, partitions.len() as u64);
            let mut next = 0;
            for partition in partitions {
                put(&mut bytes, u64::from(partition - next));
                next = partition + 1;
            }
        }
        bytes
    }

    /// Reads a standing from its bytes. Whether it is one of a layout's rows is found out when it is put together
    /// with that.
    ///
    /// # Errors
    /// [`LayoutError::Standing`] where the bytes are none of a standing, or say nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let invalid = |problem: &str| LayoutError::Standing(problem.into());
        if bytes.len() > STANDING_BYTES_MAX {
            return Err(invalid("it is longer than any"));
        }
        match bytes {
            [FORMAT, ..] => {}
            [_, ..] => {
                return Err(invalid("it has a format that this program does not read"));
            }
            [] => return Err(invalid("it is empty")),
        }
        let read = read(&mut Reader { bytes, at: 1 });
        let standing = read.ok_or_else(|| invalid("it is cut short, or tells what cannot be"))?;
        if standing.is_silent() {
            return Err(invalid("it says nothing, and no layout names one like that"));
        }
        if standing.to_bytes() != bytes {
            return Err(invalid("it is not in the form in which programs write it"));
        }
        Ok(standing)
    }
}

fn read(reader: &mut Reader<'_>) -> Option<Standing> {
    let (floor, latest, count) = (reader.number()?, reader.number()?, reader.number()?);
    let (mut said, mut rows) = (Vec::new(), Vec::new());
    for place in 0..count {
        let since = latest.checked_sub(reader.number()?).filter(|it| *it > 0)?;
        let bits = reader.byte()?;
        let learners: Positions =
            (0..REPLICAS_MAX as usize).filter(|it| bits >> it & 1 == 1).collect();
        let it = RowStanding::read(since, learners, || since.checked_sub(reader.number()?))?;
        // One that is whole is listed only as long as it says more than the floor does.
        let says_something = !it.is_whole() || since > floor;
        let has_one_in_sync = learners != Positions::first(REPLICAS_MAX as usize);
        let is_next = said.last().is_none_or(|before| *before < it);
        said.push(Some(it).filter(|_| says_something && has_one_in_sync && is_next)?);
        let place = u16::try_from(place).ok()?;
        let of_it = reader.number().filter(|it| *it > 0)?;
        let mut next = 0_u64;
        for _ in 0..of_it {
            let partition = next.checked_add(reader.number()?)?;
            let partition = u32::try_from(partition).ok().filter(|it| *it < PARTITIONS_MAX)?;
            rows.push((Partition(partition), place));
            next = u64::from(partition) + 1;
        }
    }
    rows.sort_unstable();
    let is_each_once = rows.is_sorted_by(|a, b| a.0 < b.0);
    is_each_once.then_some(Standing { floor, said, rows })
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    let (encoded, length) =
        leb128fmt::encode_u64(number).expect("there is room for any number of 64 bits");
    bytes.extend_from_slice(&encoded[..length]);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        leb128fmt::decode_uint_slice::<u64, 64>(self.bytes, &mut self.at).ok()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}
