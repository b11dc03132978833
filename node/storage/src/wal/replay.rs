//! Reading segments when the node starts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use tracing::warn;

use super::error::{WalError, file_error};
use super::frame::{self, FRAME_HEAD_BYTES, Found, Place};
use super::segments::path_of;

/// The content of an intact frame makes no sense: it is no batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Hands over the frames of a segment. Where the node died while it wrote the segment, a torn frame is
/// cut off and the segment is sealed, so that every later start finds the same.
pub(super) fn segment(
    directory: &Path,
    number: u64,
    take: &mut impl FnMut(Bytes) -> Result<(), Malformed>,
) -> Result<(), WalError> {
    let path = path_of(directory, number);
    let bytes = Bytes::from(fs::read(&path).map_err(|source| file_error(&path, source))?);
    let damaged = |offset: usize, reason: String| WalError::Damaged {
        path: path.clone(),
        offset: offset as u64,
        reason,
    };
    let mut offset = 0;
    let mut is_sealed = false;
    while let Some(found) = frame::find(&bytes, number, offset).filter(|_| !is_sealed) {
        is_sealed = found.is_seal();
        if !is_sealed {
            let frame = bytes.slice(offset..offset + found.bytes);
            take(frame)
                .map_err(|Malformed| damaged(offset, "its content makes no sense".into()))?;
        }
        offset += found.bytes;
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
    if let Some((other, _)) = frame::find_of_any(&bytes, offset) {
        return Err(damaged(offset, format!("what stands there now belongs to segment {other}")));
    }
    if let Some(witness) = frame::find_witness(&bytes, number, offset) {
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
