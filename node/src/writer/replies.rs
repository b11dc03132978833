//! Bounding what the writer and the readers read for clients by what these have not read yet.
//!
//! The serving loop refuses long reads when too much of what was answered is unread. Those that follow a
//! write through the writer were let in before, thousands of them maybe, and what they find must not fill
//! the memory either.

use std::sync::atomic::{AtomicU64, Ordering};

use kv_core::operation::{Done, Outcome};
use kv_core::refusal::Refusal;
use kv_protocol::reply::Content;
use kv_transport::server::bounds::Bounds;
use kv_transport::server::limits::SHORT_REPLY_BYTES_MAX;

use crate::refusals::replies_unread;

/// The bytes of values that wait to be read by clients.
#[derive(Debug)]
pub struct ReplyBytes {
    bounds: Bounds,
    /// In replies that the serving loop has.
    unread: AtomicU64,
    /// In what the writer and the readers have handed back.
    finished: AtomicU64,
    /// Those of them that the serving loop has taken since it last said how much it has.
    taken: AtomicU64,
}

impl ReplyBytes {
    /// Nothing waits yet, and as much may as these `bounds` say.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let [unread, finished, taken] = [0; 3].map(AtomicU64::new);
        Self { bounds, unread, finished, taken }
    }

    /// The refusal of a read for whose reply there is no room.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        replies_unread(self.bounds.unread_bytes_full)
    }

    /// Says how much the serving loop has, in bytes, with what it has taken.
    pub fn set_unread(&self, bytes: u64) {
        self.unread.store(bytes, Ordering::Relaxed);
        // Only now: what counts neither here nor there would let others in.
        self.release(self.taken.swap(0, Ordering::Relaxed));
    }

    /// Counts an outcome that the writer or a reader hands back.
    pub fn finish(&self, content: &Content) {
        self.expect(value_bytes(content));
    }

    /// Counts so many bytes that a scanner may be going to hand back.
    pub fn expect(&self, bytes: u64) {
        if bytes > 0 {
            self.finished.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts so many bytes of values that a reader is going to hand back, where there is room for them.
    #[must_use]
    pub fn reserve(&self, bytes: u64) -> bool {
        // It counts before it is judged, since other readers count at the same time.
        self.expect(bytes);
        let has_room = self.waiting() <= self.limit(bytes);
        if !has_room {
            self.release(bytes);
        }
        has_room
    }

    /// How much may wait with a value of so many bytes.
    fn limit(&self, bytes: u64) -> u64 {
        match bytes <= SHORT_REPLY_BYTES_MAX as u64 {
            true => self.bounds.unread_bytes_max,
            false => self.bounds.unread_bytes_full,
        }
    }

    fn waiting(&self) -> u64 {
        self.unread.load(Ordering::Relaxed) + self.finished.load(Ordering::Relaxed)
    }

    /// Counts an outcome that the serving loop takes.
    pub fn take(&self, content: &Content) {
        self.take_bytes(value_bytes(content));
    }

    /// Counts so many bytes of values that the serving loop takes.
    pub fn take_bytes(&self, bytes: u64) {
        if bytes > 0 {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts so many bytes no more, that were reserved or expected.
    pub fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.finished.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Whether there is room for `bytes` more beside `staged` bytes that the writer has read.
    #[must_use]
    pub fn has_room(&self, staged: u64, bytes: u64) -> bool {
        self.waiting() + staged + bytes <= self.limit(bytes)
    }

    /// The outcome of a read, where there is room for it beside the `staged` bytes, to which it is added.
    ///
    /// # Errors
    /// `overloaded` where there is no room; otherwise what the outcome says.
    pub fn admit(&self, staged: &mut u64, outcome: Outcome) -> Outcome {
        let bytes = outcome.as_ref().map_or(0, read_bytes);
        if bytes > 0 && !self.has_room(*staged, bytes) {
            return Err(self.refusal());
        }
        *staged += bytes;
        outcome
    }
}

fn read_bytes(done: &Done) -> u64 {
    match done {
        Done::Read(Some(record)) => record.value.len() as u64,
        _ => 0,
    }
}

/// The bytes of the keys and values in a reply that has many, or of its value.
fn value_bytes(content: &Content) -> u64 {
    match content {
        Content::One { done, .. } => read_bytes(done),
        Content::Batch(outcomes) => outcomes.iter().flatten().map(read_bytes).sum(),
        Content::Page(page) => {
            page.items.iter().map(|(key, record)| (key.len() + record.value.len()) as u64).sum()
        }
        Content::Records(records) => records.stream.len() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use kv_core::operation::Record;
    use kv_core::refusal::ErrorCode;

    use super::*;

    const BOUNDS: Bounds = Bounds::within(100 << 20);

    fn read(bytes: usize) -> Outcome {
        Ok(Done::Read(Some(Record { value: vec![7; bytes], version: None })))
    }

    #[test]
    fn what_readers_reserve_is_bounded_together() {
        let bytes = ReplyBytes::new(BOUNDS);
        let value = u64::try_from(SHORT_REPLY_BYTES_MAX).unwrap() + 1;
        let reserved =
            (0..BOUNDS.unread_bytes_max / value).filter(|_| bytes.reserve(value)).count() as u64;
        assert_eq!(reserved, BOUNDS.unread_bytes_full / value);
        assert!(!bytes.reserve(value));
        assert!(bytes.reserve(1), "a short one has room still");
        bytes.take_bytes(value);
        assert!(!bytes.reserve(value), "the serving loop has not said that it has it");
        bytes.set_unread(0);
        assert!(bytes.reserve(value));
    }

    #[test]
    fn reads_are_refused_when_much_is_unread_and_short_ones_later() {
        const LONG: usize = 1 << 20;
        let bytes = ReplyBytes::new(BOUNDS);
        let mut staged = 0;
        assert!(bytes.admit(&mut staged, read(LONG)).is_ok());
        assert_eq!(staged, LONG as u64);
        bytes.set_unread(BOUNDS.unread_bytes_full - 2 * staged);
        assert!(bytes.admit(&mut staged, read(LONG)).is_ok());
        let code = |outcome: Outcome| outcome.unwrap_err().code;
        assert_eq!(code(bytes.admit(&mut staged, read(LONG))), ErrorCode::Overloaded);
        assert_eq!(staged, 2 * LONG as u64, "what is refused takes no room");
        assert!(bytes.admit(&mut staged, read(SHORT_REPLY_BYTES_MAX)).is_ok());
        bytes.set_unread(BOUNDS.unread_bytes_max);
        assert_eq!(code(bytes.admit(&mut staged, read(1))), ErrorCode::Overloaded);
        assert!(bytes.admit(&mut staged, Ok(Done::Deleted { existed: true })).is_ok());
    }

    #[test]
    fn what_is_handed_back_counts_until_it_is_taken() {
        let bytes = ReplyBytes::new(BOUNDS);
        let value = usize::try_from(BOUNDS.unread_bytes_full).unwrap();
        let content = Content::One { key: "k".to_owned(), done: read(value).unwrap() };
        bytes.finish(&content);
        assert!(!bytes.has_room(0, 1 << 20));
        bytes.take(&content);
        bytes.set_unread(0);
        assert!(bytes.has_room(0, 1 << 20));
    }
}
