//! A frame of the write-ahead log: one group of changes, written and synced as a whole.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | XXH3-64 of all that follows, seeded with the frame's place in its segment, little-endian |
//! | 4 | `KVRF` |
//! | 4 | length of the content in bytes, little-endian; 0 for the seal that ends a segment |
//! | 8 | the segment's number, little-endian |
//! | 8 | how much of the segment was on the disk for certain when this was written, little-endian |
//! | rest | the content |
//!
//! So a frame is valid in its own place only, and each frame tells up to where the ones before it
//! had been synced: invalid bytes before that were damaged later, and are no torn write.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The length of a frame's head.
pub(crate) const FRAME_HEAD_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"KVRF";
const CHECKSUM_BYTES: usize = 8;

/// Where a frame stands, and how much before it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    /// The frame's first byte.
    pub(super) offset: u64,
    /// The bytes of the segment that were on the disk when the frame was written.
    pub(super) durable: u64,
}

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its length with its head.
    pub(super) bytes: usize,
    pub(super) durable: u64,
}

impl Found {
    /// Whether it is the seal of its segment.
    pub(super) fn is_seal(self) -> bool {
        self.bytes == FRAME_HEAD_BYTES
    }
}

/// Fills in the head of `frame`, whose first [`FRAME_HEAD_BYTES`] are blank.
pub(super) fn complete(frame: &mut [u8], place: Place) {
    // A group is far below 4 GiB.
    let length = (frame.len() - FRAME_HEAD_BYTES) as u32;
    frame[8..12].copy_from_slice(&MAGIC);
    frame[12..16].copy_from_slice(&length.to_le_bytes());
    frame[16..24].copy_from_slice(&place.segment.to_le_bytes());
    frame[24..32].copy_from_slice(&place.durable.to_le_bytes());
    let checksum = xxh3_64_with_seed(&frame[CHECKSUM_BYTES..], place.offset);
    frame[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// The frame at `offset` of a segment's bytes, where a valid one of this segment is there.
pub(super) fn find(bytes: &[u8], segment: u64, offset: usize) -> Option<Found> {
    find_of_any(bytes, offset).filter(|(number, _)| *number == segment).map(|(_, found)| found)
}

/// The frame at `offset` of a segment's bytes, where a valid one is there, and the number of the
/// segment to which it belongs.
pub(super) fn find_of_any(bytes: &[u8], offset: usize) -> Option<(u64, Found)> {
    let length = length_at(bytes, offset)?;
    let frame = bytes.get(offset..)?.get(..length)?;
    let number = |at: usize| u64::from_le_bytes(frame[at..at + 8].try_into().unwrap_or_default());
    let checksum = xxh3_64_with_seed(&frame[CHECKSUM_BYTES..], offset as u64);
    (number(0) == checksum).then_some((number(16), Found { bytes: length, durable: number(24) }))
}

/// How long the frame at `offset` is with its head, in bytes, where what stands there looks like one.
pub(super) fn length_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let rest = bytes.get(offset..)?;
    let (head, _) = rest.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let content = u32::from_le_bytes(head[12..16].try_into().unwrap_or_default());
    let length = FRAME_HEAD_BYTES + content as usize;
    (head[8..12] == MAGIC && length <= rest.len()).then_some(length)
}

/// The first valid frame after `offset` that says that the bytes at `offset` were durable.
pub(super) fn find_witness(bytes: &[u8], segment: u64, offset: usize) -> Option<usize> {
    let from = offset + 1 + CHECKSUM_BYTES;
    let magic_at = bytes.get(from..)?.windows(MAGIC.len()).enumerate();
    magic_at
        .filter(|(_, window)| *window == MAGIC)
        .map(|(at, _)| from + at - CHECKSUM_BYTES)
        .find(|at| find(bytes, segment, *at).is_some_and(|it| it.durable > offset as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: &[u8], place: Place) -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEAD_BYTES];
        frame.extend_from_slice(content);
        complete(&mut frame, place);
        frame
    }

    #[test]
    fn a_frame_is_valid_in_its_place_only() {
        let place = Place { segment: 7, offset: 3, durable: 2 };
        let frame = frame(b"content", place);
        let bytes = [b"abc", &frame[..]].concat();
        assert_eq!(find(&bytes, 7, 3), Some(Found { bytes: frame.len(), durable: 2 }));
        assert_eq!(find(&bytes, 8, 3), None, "it is another segment's");
        assert_eq!(find(&frame, 7, 0), None, "it was elsewhere");
        assert_eq!(find(&bytes[..bytes.len() - 1], 7, 3), None, "it is cut off");
        assert_eq!(find(&bytes, 7, 1000), None);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let place = Place { segment: 1, offset: 0, durable: 0 };
        let sound = frame(b"content", place);
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(find(&damaged, 1, 0), None, "bit {bit}");
        }
    }

    #[test]
    fn a_later_frame_bears_witness_of_what_was_durable() {
        let first = frame(b"first", Place { segment: 1, offset: 0, durable: 0 });
        let offset = first.len() as u64;
        for (durable, expected) in [(offset, Some(first.len())), (0, None)] {
            let second = frame(b"second", Place { segment: 1, offset, durable });
            let mut bytes = [&first[..], &second].concat();
            bytes[20] ^= 1;
            assert_eq!(find_witness(&bytes, 1, 0), expected);
        }
    }
}
