//! Reading segments when the node starts.
//!
//! A frame says how long it is, so that where each one stands is found without reading what is in it. Several
//! threads then verify and take them, each some that follow one another. What the first frame that is not valid
//! means is judged afterwards, by one thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use rayon::prelude::*;
use tracing::warn;

use super::error::{WalError, file_error};
use super::frame::{self, FRAME_HEAD_BYTES, Found, Place};
use super::segments::path_of;

/// So much of a segment, in bytes, one thread reads or verifies at a time.
const PIECE_BYTES: usize = 4 << 20;

/// The content of an intact frame makes no sense: it is no batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What is made of some frames that follow one another.
pub(crate) trait Taker: Default + Send {
    /// Takes the next frame of a segment.
    fn take(&mut self, segment: &[u8], frame: Range<usize>) -> Result<(), Malformed>;

    /// Gives up what does not count of a segment whose frames were taken.
    fn condense(segment: Segment<Self>) -> Segment<Self>;
}

/// The content of a segment, and what was made of its frames, in their order.
pub(crate) struct Segment<T> {
    pub(crate) bytes: Bytes,
    pub(crate) taken: Vec<T>,
}

/// How far the frames of a segment are valid.
struct Reached {
    /// Where the last valid frame ends.
    offset: usize,
    is_sealed: bool,
    /// Why the one behind that cannot be taken.
    ended_by: Option<Ended>,
}

enum Ended {
    NotValid,
    Malformed,
}

/// Reads a segment and has its frames taken. Where the node died while it wrote the segment, a torn frame is
/// cut off and the segment is sealed, so that every later start finds the same.
pub(super) fn segment<T: Taker>(directory: &Path, number: u64) -> Result<Segment<T>, WalError> {
    let path = path_of(directory, number);
    let bytes = read(&path).map_err(|source| file_error(&path, source))?;
    let frames = frames(&bytes);
    let pieces: Vec<_> = pieces(&frames).collect();
    let taken: Vec<(T, Reached)> =
        pieces.into_par_iter().map(|frames| take(&bytes, number, frames)).collect();
    let mut all = Reached { offset: 0, is_sealed: false, ended_by: None };
    let mut takers = Vec::with_capacity(taken.len());
    for (taker, reached) in taken {
        all = reached;
        takers.push(taker);
        if all.ended_by.is_some() {
            break;
        }
    }
    judge(directory, number, &bytes, &all)?;
    Ok(T::condense(Segment { bytes: bytes.into(), taken: takers }))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let pieces = bytes.par_chunks_mut(PIECE_BYTES).enumerate();
    pieces.try_for_each(|(number, piece)| {
        file.read_exact_at(piece, number as u64 * PIECE_BYTES as u64)
    })?;
    Ok(bytes)
}

/// Where frames stand, as far as what stands there looks like one.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(length) = frame::length_at(bytes, at) {
        frames.push(at..at + length);
        at += length;
        if length == FRAME_HEAD_BYTES {
            break;
        }
    }
    frames
}

/// Frames that begin in the same piece of a segment, together.
fn pieces(frames: &[Range<usize>]) -> impl Iterator<Item = &[Range<usize>]> {
    frames.chunk_by(|one, next| one.start / PIECE_BYTES == next.start / PIECE_BYTES)
}

/// Has the valid ones of some frames taken, up to the first one that is not.
fn take<T: Taker>(bytes: &[u8], number: u64, frames: &[Range<usize>]) -> (T, Reached) {
    let mut taker = T::default();
    let offset = frames.first().map_or(0, |frame| frame.start);
    let mut reached = Reached { offset, is_sealed: false, ended_by: None };
    for frame in frames {
        let Some(found) = frame::find(bytes, number, frame.start) else {
            reached.ended_by = Some(Ended::NotValid);
            break;
        };
        reached.is_sealed = found.is_seal();
        if !reached.is_sealed && taker.take(bytes, frame.clone()).is_err() {
            reached.ended_by = Some(Ended::Malformed);
            break;
        }
        reached.offset = frame.end;
    }
    (taker, reached)
}

/// Judges what stands behind the last valid frame of a segment.
fn judge(directory: &Path, number: u64, bytes: &[u8], reached: &Reached) -> Result<(), WalError> {
    let path = path_of(directory, number);
    let Reached { offset, is_sealed, .. } = *reached;
    let damaged = |offset: usize, reason: String| WalError::Damaged {
        path: path.clone(),
        offset: offset as u64,
        reason,
    };
    if matches!(reached.ended_by, Some(Ended::Malformed)) {
        return Err(damaged(offset, "its content makes no sense".into()));
    }
    let has_next = path_of(directory, number + 1).exists();
    if is_sealed && offset == bytes.len() {
        // Where the process died right after it wrote the seal, that may not be on the disk yet, and
        // must be before there is a next segment.
        let sync = || if has_next { Ok(()) } else { File::open(&path)?.sync_all() };
        return sync().map_err(|source| file_error(&path, source));
    }
    if is_sealed {
        return Err(damaged(offset, "the segment goes on after its seal".into()));
    }
    if has_next {
        return Err(damaged(offset, "the segment was complete when the next one was begun".into()));
    }
    if let Some((other, _)) = frame::find_of_any(bytes, offset) {
        return Err(damaged(offset, format!("what stands there now belongs to segment {other}")));
    }
    if let Some(witness) = frame::find_witness(bytes, number, offset) {
        return Err(damaged(offset, format!("so says the frame at byte {witness}")));
    }
    if offset < bytes.len() {
        tell_torn(&path, offset as u64, (bytes.len() - offset) as u64);
    }
    seal(&path, number, offset as u64).map_err(|source| file_error(&path, source))
}

fn seal(path: &Path, number: u64, length: u64) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    // What a process wrote before it died may not be on the disk yet.
    file.sync_all()?;
    let mut seal = vec![0; FRAME_HEAD_BYTES];
    frame::complete(&mut seal, Place { segment: number, offset: length, durable: length });
    debug_assert!(frame::find(&seal, number, 0).is_none_or(Found::is_seal));
    file.write_all_at(&seal, length)?;
    file.sync_all()
}

/// Says that a torn write was cut off.
fn tell_torn(path: &Path, offset: u64, bytes: u64) {
    warn!(
        "the last write before the crash was torn: {bytes} bytes at byte {offset} of {} are dropped, of which nobody was told",
        path.display()
    );
}
