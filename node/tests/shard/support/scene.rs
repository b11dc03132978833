//! A move of half of a node's partitions to another.

use kv_core::layout::Side;
use kv_core::operation::Condition;
use kv_core::partition::PartitionCount;
use kv_core::refusal::ErrorCode;
use kv_protocol::record_stream::{self, StreamRecord};
use kv_protocol::reply::{Content, MoveDigest, Records};
use kv_protocol::request::{Command, Digest, Fetch};

use super::harness::{Harness, put};
use super::{Cluster, PARTITIONS, uuid};

/// More than a few chunks and pages.
pub(crate) const KEYS: usize = 3000;

/// Node 0 has everything, and half of it is to go to node 1.
pub(crate) struct Scene {
    pub(crate) source: Harness,
    pub(crate) destination: Harness,
    pub(crate) cluster: Cluster,
}

pub(crate) fn key(number: usize) -> String {
    format!("key-{number}")
}

pub(crate) fn moves(key: &str) -> bool {
    PartitionCount::new(PARTITIONS).unwrap().partition_of(key).0 >= PARTITIONS / 2
}

/// Keys of the half that moves.
pub(crate) fn moving() -> impl Iterator<Item = String> {
    (0..KEYS).map(key).filter(|key| moves(key))
}

impl Scene {
    pub(crate) fn new() -> Self {
        let cluster = Cluster::new(1, 1, |_| 0);
        let [source, destination] = [0, 1].map(|node| {
            let directory = tempfile::tempdir().unwrap();
            Harness::start(node, directory, Some(cluster.install(node, None)), 0)
        });
        for chunk in (0..KEYS).collect::<Vec<_>>().chunks(1000) {
            let puts = chunk.iter().map(|it| put(&key(*it), "value", Condition::None)).collect();
            assert!(matches!(source.call(Command::Batch(puts)), Content::Batch(_)));
        }
        let begun = cluster.begin(2, |it| u32::from(it >= PARTITIONS / 2), &[]);
        Self { source, destination, cluster: begun }
    }

    pub(crate) fn step(mut self, step: impl Fn(&Cluster) -> Cluster) -> Self {
        self.cluster = step(&self.cluster);
        self.source.install(&self.cluster);
        self.destination.install(&self.cluster);
        self
    }

    pub(crate) fn prepared() -> Self {
        Self::new().step(|it| it.prepare(PARTITIONS))
    }

    pub(crate) fn opened() -> Self {
        Self::prepared().step(Cluster::open)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.cluster.layout.epoch
    }

    pub(crate) fn fetch(&self) -> Vec<Records> {
        let mut pages: Vec<Records> = Vec::new();
        loop {
            let after = pages.last().and_then(|page| page.next.clone()).map(Into::into);
            let fetch = Command::Fetch(Fetch { to: uuid(1), after });
            let Content::Records(page) = self.source.call_under(self.epoch(), fetch) else {
                panic!("the source gives no records")
            };
            let is_last = page.next.is_none();
            pages.push(page);
            if is_last {
                return pages;
            }
        }
    }

    pub(crate) fn copy(&self, page: &Records) -> Content {
        let (records, stream) = (page.records, page.stream.clone().into());
        self.destination.call_under(self.epoch(), Command::Copy { records, stream })
    }

    pub(crate) fn copy_all(&self) -> u32 {
        let copied = |page: &Records| match self.copy(page) {
            Content::Copied { copied } => copied,
            other => panic!("{other:?}"),
        };
        self.fetch().iter().map(copied).sum()
    }

    pub(crate) fn digests(&self) -> [MoveDigest; 2] {
        let ask = |node: &Harness, peer, side| {
            let digest = Digest { peer: uuid(peer), side, after: None, until: None };
            match node.call_under(self.epoch(), Command::Digest(digest)) {
                Content::Digest(digest) => digest,
                other => panic!("{other:?}"),
            }
        };
        [ask(&self.source, 1, Side::Source), ask(&self.destination, 0, Side::Destination)]
    }
}

pub(crate) fn code(content: Content) -> ErrorCode {
    match content {
        Content::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn stream(records: &[StreamRecord<'_>]) -> Command<'static> {
    let mut stream = Vec::new();
    records.iter().for_each(|record| record_stream::push(&mut stream, record));
    Command::Copy { records: u32::try_from(records.len()).unwrap(), stream: stream.into() }
}
