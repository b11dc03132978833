//! What the serving loop asks of the node that answers.
//!
//! The loop knows connections and frames; a service knows what requests mean. It answers at once, or says
//! that the answer comes later, and hands the finished request to the loop's channel.

use kv_core::refusal::Refusal;
use kv_protocol::frame::Payload;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{RequestId, Style};

use super::Peer;

/// A frame as it was received.
pub type Frame = zmq::Message;

/// The frames of a reply, without the delimiter: the header and, where there is one, the body.
pub type Frames = (Vec<u8>, Option<Vec<u8>>);

/// The frames of a refusal, which has no style.
#[must_use]
pub fn refuse(id: Option<RequestId>, refusal: Refusal) -> Frames {
    Reply { id, content: Content::Refused(refusal) }.encode(Style::default())
}

/// How much the reply to a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyRoom {
    /// As much as the protocol allows.
    Long,
    /// Little, because much that was answered is unread.
    Short,
}

/// What a service does with a request.
pub enum Disposition<P> {
    /// It has the reply.
    Answered(P, Frames),
    /// The reply comes later, from [`Service::finish`].
    Pending,
    /// As that, and it may be long: the next requests of its peer wait until it is there.
    PendingAlone,
}

/// Answers requests.
pub trait Service {
    /// A finished request, as the threads that work on it hand it back.
    type Finished;

    /// Takes a request from `peer`. While there is no `room` for long replies, reads that have one are
    /// refused.
    fn take(&mut self, peer: Peer, payload: &Payload<Frame>, room: ReplyRoom) -> Disposition<Peer>;

    /// All that has come is taken: the service does at once what it has kept for that.
    fn flush(&mut self) {}

    /// Takes back a finished request, and gives the reply, where a peer waits for one.
    fn finish(&mut self, finished: Self::Finished) -> Option<(Peer, Frames)>;

    /// The id of a request that will not be carried out.
    fn id_of(&self, payload: &Payload<Frame>) -> Option<RequestId>;

    /// Takes note how many bytes of replies have not arrived at the peers that asked.
    fn note_unread(&self, bytes: u64);

    /// How many requests are pending.
    fn pending(&self) -> usize;

    /// Whether so much is pending that no peer should add to what it has there.
    fn is_busy(&self) -> bool;

    /// Whether nothing will be finished any more.
    fn is_gone(&self) -> bool;

    /// Whether nothing has been finished for too long.
    fn hangs(&self) -> bool;
}
