//! Reads the lines of an import, on a thread of its own, since to read from a pipe or terminal blocks.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::line_bounds::{BOM, LineBounds};
use crate::ndjson;

/// The most records in one chunk.
pub(crate) const CHUNK_RECORDS_MAX: usize = 1024;

/// A chunk ends once its keys and values exceed this many bytes.
pub(crate) const CHUNK_BYTES_TARGET: usize = 1 << 20;

/// The chunks that wait to be stored.
const CHUNKS_WAITING_MAX: usize = 2;

/// How much is read from a file at once, in bytes.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;

/// Some consecutive lines.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) records: Vec<Record>,
    /// The bytes of the lines, for a progress bar.
    pub(crate) bytes: u64,
}

/// A record and where it stood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Counted from 1.
    pub(crate) line: u64,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
}

/// A line that ends the import.
#[derive(Debug)]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) problem: String,
}

/// Starts to read. The chunks end with the input, or with the first bad line.
pub(crate) fn read(
    reader: impl BufRead + Buffered + Send + 'static,
) -> Result<mpsc::Receiver<Result<Chunk, BadLine>>, Failure> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    std::thread::Builder::new()
        .name("import-lines".into())
        .spawn(move || {
            let mut lines = Lines { reader, number: 0, line: Vec::new() };
            loop {
                let (chunk, end) = lines.chunk();
                let sent = chunk.records.is_empty() || chunks.blocking_send(Ok(chunk)).is_ok();
                match end {
                    // The import has ended, and takes no more.
                    _ if !sent => return,
                    Some(Err(bad)) => return drop(chunks.blocking_send(Err(bad))),
                    Some(Ok(())) => return,
                    None => {}
                }
            }
        })
        .map_err(|error| Failure::local("cannot start a thread", error))?;
    Ok(receiver)
}

/// A reader that can tell whether the next read may block.
pub(crate) trait Buffered {
    /// Whether there are bytes that need not be waited for.
    fn has_more(&self) -> bool;
}

impl<R: Read> Buffered for io::BufReader<R> {
    fn has_more(&self) -> bool {
        !self.buffer().is_empty()
    }
}

struct Lines<R> {
    reader: R,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead + Buffered> Lines<R> {
    /// The next chunk, and how the input ended where it did.
    ///
    /// A chunk is not held back until it is full where the rest would have to be waited for, so that
    /// a slow writer's records are stored as they come.
    fn chunk(&mut self) -> (Chunk, Option<Result<(), BadLine>>) {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        while chunk.records.len() < CHUNK_RECORDS_MAX && bytes <= CHUNK_BYTES_TARGET {
            match self.record(&mut chunk.bytes) {
                Ok(Some(record)) => {
                    bytes += record.key.len() + record.value.len();
                    chunk.records.push(record);
                }
                Ok(None) => return (chunk, Some(Ok(()))),
                Err(problem) => {
                    return (chunk, Some(Err(BadLine { line: self.number, problem })));
                }
            }
            if !self.reader.has_more() {
                break;
            }
        }
        (chunk, None)
    }

    fn record(&mut self, bytes: &mut u64) -> Result<Option<Record>, String> {
        loop {
            self.number += 1;
            let read = self.line()?;
            if read == 0 {
                return Ok(None);
            }
            *bytes += read as u64;
            let line = self.line.strip_prefix(BOM).unwrap_or(&self.line).trim_ascii();
            if line.is_empty() {
                continue;
            }
            let (key, value) = ndjson::parse_line(line)?;
            return Ok(Some(Record { line: self.number, key, value }));
        }
    }

    /// Reads the next line, no further than it may be a record's. Returns its length with its end, which is 0
    /// only at the end of the input.
    fn line(&mut self) -> Result<usize, String> {
        let mut bounds = LineBounds::default();
        self.line.clear();
        loop {
            let there = match self.reader.fill_buf() {
                Ok(there) => there,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot be read: {error}")),
            };
            let end = there.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(there.len());
            bounds.look_at(&there[..taken])?;
            self.line.extend_from_slice(&there[..taken]);
            self.reader.consume(taken);
            if end.is_some() || taken == 0 {
                return Ok(self.line.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::limits::VALUE_BYTES_MAX_CEILING;

    use super::*;

    fn lines(text: Vec<u8>) -> Lines<io::BufReader<io::Cursor<Vec<u8>>>> {
        let reader = io::BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(text));
        Lines { reader, number: 0, line: Vec::new() }
    }

    fn all(text: Vec<u8>) -> (Vec<Record>, Result<(), BadLine>) {
        let (mut lines, mut records) = (lines(text), Vec::new());
        loop {
            let (chunk, end) = lines.chunk();
            records.extend(chunk.records);
            if let Some(end) = end {
                return (records, end);
            }
        }
    }

    fn record(line: u64, key: &str) -> Record {
        Record { line, key: key.into(), value: b"v".to_vec() }
    }

    #[test]
    fn lines_are_numbered_and_empty_ones_are_passed_over() {
        let text = "{\"key\":\"a\",\"value\":\"v\"}\n\n \r\n{\"key\":\"b\",\"value\":\"v\"}\r\n{\"key\":\"c\",\"value\":\"v\"}";
        let (records, end) = all(text.into());
        assert_eq!(records, [record(1, "a"), record(4, "b"), record(5, "c")]);
        assert!(end.is_ok());
        assert!(all(Vec::new()).0.is_empty());
    }

    #[test]
    fn the_first_bad_line_ends_the_input() {
        let text = "{\"key\":\"a\",\"value\":\"v\"}\noops\n{\"key\":\"b\",\"value\":\"v\"}\n";
        let (records, end) = all(text.into());
        assert_eq!(records, [record(1, "a")]);
        assert_eq!(end.unwrap_err().line, 2);
    }

    #[test]
    fn chunks_are_bounded_in_number_and_bytes() {
        let many = "{\"key\":\"a\",\"value\":\"v\"}\n".repeat(CHUNK_RECORDS_MAX + 1);
        assert_eq!(lines(many.into()).chunk().0.records.len(), CHUNK_RECORDS_MAX);
        let value = "v".repeat(CHUNK_BYTES_TARGET / 2);
        let large = format!("{{\"key\":\"a\",\"value\":\"{value}\"}}\n").repeat(4);
        let mut large = io::BufReader::with_capacity(large.len(), io::Cursor::new(large));
        large.fill_buf().unwrap();
        let mut large = Lines { reader: large, number: 0, line: Vec::new() };
        assert_eq!(large.chunk().0.records.len(), 2);
    }

    #[test]
    fn every_record_fits_and_a_longer_line_is_not_read_to_its_end() {
        let line = |value: &str| format!("{{\"key\":\"a\",\"value\":\"{value}\"}}\n");
        for longest in ["v".repeat(VALUE_BYTES_MAX_CEILING), "\\u0001".repeat(1 << 18)] {
            let (records, end) = all(line(&longest).into());
            assert_eq!((records.len(), end.is_ok()), (1, true));
        }
        // A line without an end is like one that is only too long, since neither is read to its end.
        let endless = io::Cursor::new(b"{\"key\":\"a\",\"value\":\"v\"}\n{\"key\":\"")
            .chain(io::repeat(b'v'));
        let reader = io::BufReader::with_capacity(BUFFER_BYTES, endless);
        let mut lines = Lines { reader, number: 0, line: Vec::new() };
        let (chunk, end) = lines.chunk();
        let bad = end.unwrap().unwrap_err();
        assert_eq!((chunk.records.len(), bad.line), (1, 2));
        assert!(bad.problem.contains("longer than"), "{}", bad.problem);
        assert!(lines.line.len() < 2 * VALUE_BYTES_MAX_CEILING);
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let text = "\u{feff}{\"key\":\"a\",\"value\":\"v\"}\n\u{feff}\n\u{feff}{\"key\":\"b\",\"value\":\"v\"}";
        let (records, end) = all(text.into());
        assert_eq!((records, end.is_ok()), (vec![record(1, "a"), record(3, "b")], true));
    }

    #[test]
    fn what_is_there_is_not_held_back() {
        struct Slow;
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let line = b"{\"key\":\"a\",\"value\":\"v\"}\n";
                buffer[..line.len()].copy_from_slice(line);
                Ok(line.len())
            }
        }
        let mut lines = Lines { reader: io::BufReader::new(Slow), number: 0, line: Vec::new() };
        let (chunk, end) = lines.chunk();
        assert_eq!((chunk.records.len(), end.is_none()), (1, true));
    }
}
