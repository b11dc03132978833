//! The log's files, read and made by hand: the format a second time, so that it is pinned.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) const HEAD_BYTES: usize = 32;

/// A frame that was found in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) offset: usize,
    pub(crate) durable: u64,
    pub(crate) content: Vec<u8>,
}

impl Frame {
    /// The first byte after it.
    pub(crate) fn end(&self) -> usize {
        self.offset + HEAD_BYTES + self.content.len()
    }
}

/// Where the store in `directory` has a segment.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join("redo").join(format!("{number:016}.redo"))
}

/// The segments that the store in `directory` has.
pub(crate) fn read(directory: &Path) -> BTreeMap<u64, Vec<u8>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(directory.join("redo")).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        segments.insert(number, fs::read(path).unwrap());
    }
    segments
}

/// Gives the store in `directory` these segments and no others.
pub(crate) fn replace(directory: &Path, segments: &BTreeMap<u64, Vec<u8>>) {
    fs::remove_dir_all(directory.join("redo")).unwrap();
    fs::create_dir(directory.join("redo")).unwrap();
    for (number, bytes) in segments {
        fs::write(path(directory, *number), bytes).unwrap();
    }
}

/// The frames of a sound segment.
pub(crate) fn frames(segment: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut offset = 0;
    while offset < segment.len() {
        let head = &segment[offset..offset + HEAD_BYTES];
        assert_eq!(head[8..12], *b"KVRF");
        let length = u32::from_le_bytes(head[12..16].try_into().unwrap()) as usize;
        let durable = u64::from_le_bytes(head[24..32].try_into().unwrap());
        let content = segment[offset + HEAD_BYTES..][..length].to_vec();
        let frame = Frame { offset, durable, content };
        offset = frame.end();
        frames.push(frame);
    }
    frames
}

/// A frame, made by hand.
pub(crate) fn frame(segment: u64, offset: usize, durable: usize, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    let mut frame = b"KVRF".to_vec();
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&segment.to_le_bytes());
    frame.extend_from_slice(&(durable as u64).to_le_bytes());
    frame.extend_from_slice(content);
    let checksum = xxh3_64_with_seed(&frame, offset as u64);
    [&checksum.to_le_bytes()[..], &frame].concat()
}

/// A segment with these contents in it, each synced before the next, that has not ended.
pub(crate) fn segment(number: u64, contents: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for content in contents {
        let offset = bytes.len();
        bytes.extend(frame(number, offset, offset, content));
    }
    bytes
}

/// The segment with the seal that ends it.
pub(crate) fn sealed(number: u64, mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len();
    bytes.extend(frame(number, length, length, b""));
    bytes
}
