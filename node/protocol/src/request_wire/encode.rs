//! Writing a request.

use super::header::Header;
use super::json::{Object, text};
use super::operation::OperationHeader;
use crate::operation_stream;
use crate::request::{Command, Request, Values};

impl Request<'_> {
    /// Writes the request as its header frame and, where it has values, its body frame.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut body = None;
        let mut header = Header {
            id: self.id.clone(),
            cluster: self.context.cluster,
            node: self.context.node,
            incarnation: self.context.incarnation,
            epoch: self.context.epoch,
            values: (self.style.values != Values::Inline).then_some(self.style.values),
            versions: self.style.versions.then_some(true),
            ..Header::default()
        };
        match &self.command {
            Command::One(operation) => {
                let one = OperationHeader::encode(operation, &mut body);
                header.op = one.op;
                header.key = one.key;
                header.value_bytes = one.value_bytes;
                header.if_absent = one.if_absent;
                header.if_version = one.if_version;
            }
            Command::Batch(operations) if self.style.streams => {
                header.op = text("BATCH");
                // A longer list than can be counted is refused for its length.
                header.operations = Some(u32::try_from(operations.len()).unwrap_or(u32::MAX));
                body = Some(operation_stream::write_operations(operations));
            }
            Command::Batch(operations) => {
                header.op = text("BATCH");
                let encode = |operation| Object(OperationHeader::encode(operation, &mut body));
                header.ops = Some(operations.iter().map(encode).collect::<Vec<_>>().into());
            }
            Command::GetAll => header.op = text("GET_ALL"),
            Command::Status => header.op = text("STATUS"),
            Command::Scan(scan) => {
                header.op = text("SCAN");
                header.partition = scan.partition;
                header.from = scan.from;
                header.after = scan.after.as_deref().and_then(text);
                header.prefix = Some(&*scan.prefix).filter(|it| !it.is_empty()).and_then(text);
                header.limit = scan.limit;
            }
            Command::Fetch(fetch) => {
                header.op = text("FETCH");
                header.to = Some(fetch.to);
                header.after = fetch.after.as_deref().and_then(text);
            }
            Command::Copy { records, stream } => {
                header.op = text("COPY");
                header.records = Some(*records);
                body = Some(stream.to_vec());
            }
            Command::Digest(digest) => {
                header.op = text("DIGEST");
                header.peer = Some(digest.peer);
                header.side = Some(digest.side);
                header.after = digest.after.as_deref().and_then(text);
                header.until = digest.until.as_deref().and_then(text);
            }
            Command::Count(count) => {
                header.op = text("COUNT");
                header.partitions = Some(count.partitions.clone().into());
            }
            Command::Stored { after } => {
                header.op = text("STORED");
                header.after = after.as_deref().and_then(text);
            }
            Command::Holds { partitions } => {
                header.op = text("HOLDS");
                header.partitions = Some(partitions.clone().into());
            }
        }
        let header = serde_json::to_vec(&header).expect("a request holds only what JSON can say");
        (header, body)
    }
}
