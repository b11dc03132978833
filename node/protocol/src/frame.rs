//! The frames of a message: an optional envelope, a JSON header, an optional body.
//!
//! The envelope is what ZeroMQ's own sockets put before a message, and want back before its reply
//! (RFC 28): a REQ socket an empty delimiter frame, before which it may put a number of the request
//! (`ZMQ_REQ_CORRELATE`), and each queue device on the way the id of its peer. A DEALER need not send
//! any. So a node keeps all frames up to and with the delimiter, and answers each peer in its own way.
//! The routing id, which the node's own ROUTER puts before each message, is not part of this.
//!
//! **The delimiter is the first empty frame that has a frame after it; a message without such a frame
//! has no envelope.** This leaves no doubt: without an envelope there are at most two frames, the first
//! of which is a header and thus not empty, and where the second one, the body, is empty, it is the last.
//! What the frames contain is not looked at, since a request's number may be any bytes.

use std::ops::Deref;

use kv_core::limits::{
    BODY_BYTES_MAX, ENVELOPE_BYTES_MAX, ENVELOPE_FRAMES_MAX, FRAMES_MAX, HEADER_BYTES_MAX,
};
use kv_core::refusal::{Refusal, bad_request, too_large};

/// The domain of authentication of every socket. With one, libzmq hangs up on peers of ZMTP 1.0 and
/// 2.0, which could not be authenticated. Otherwise it would take all bytes that lack ZMTP 3's signature
/// for messages of ZMTP 1.0, such as the POST that a web page has a browser send. Nothing is bound where
/// libzmq would ask who may come, so all others are let in.
pub const ZAP_DOMAIN: &str = "kv";

/// What a message says, without its envelope, as bytes that `B` owns or borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<B> {
    /// The JSON header.
    pub header: B,
    /// The raw bytes that the header speaks of.
    pub body: Option<B>,
}

/// Whether a frame can be the delimiter at the end of an envelope.
#[must_use]
pub fn is_delimiter(frame: &[u8]) -> bool {
    frame.is_empty()
}

/// Whether a message is nothing but an empty frame: a socket with `ZMQ_PROBE_ROUTER` sends it where it
/// connects, and expects no answer.
pub fn is_probe<B: Deref<Target = [u8]>>(frames: &[B]) -> bool {
    matches!(frames, [frame] if frame.is_empty())
}

/// Splits a message into its envelope, with the delimiter, and its other frames.
///
/// An envelope above [`ENVELOPE_FRAMES_MAX`] or [`ENVELOPE_BYTES_MAX`] does not count as one; then there are
/// more other frames than [`Payload::open`] allows.
#[must_use]
pub fn split_envelope<B: Deref<Target = [u8]>>(mut frames: Vec<B>) -> (Vec<B>, Vec<B>) {
    let before_last = frames.len().saturating_sub(1);
    let searched = before_last.min(ENVELOPE_FRAMES_MAX + 1);
    let delimiter = frames[..searched].iter().position(|frame| is_delimiter(frame));
    let Some(delimiter) = delimiter else { return (Vec::new(), frames) };
    let bytes: usize = frames[..delimiter].iter().map(|frame| frame.len()).sum();
    if bytes > ENVELOPE_BYTES_MAX {
        return (Vec::new(), frames);
    }
    let rest = frames.split_off(delimiter + 1);
    (frames, rest)
}

impl<B: Deref<Target = [u8]>> Payload<B> {
    /// Takes the frames after the envelope apart, and checks their number and lengths.
    ///
    /// # Errors
    /// A refusal, where the number of frames or the length of one is not allowed.
    pub fn open(frames: Vec<B>) -> Result<Self, Refusal> {
        let count = frames.len();
        let mut frames = frames.into_iter();
        let (header, body, rest) = (frames.next(), frames.next(), frames.next());
        let Some(header) = header.filter(|header| !header.is_empty()) else {
            return Err(bad_request("the message has no header frame: expected a JSON object"));
        };
        if rest.is_some() {
            let more = if count >= FRAMES_MAX { " or more" } else { "" };
            return Err(bad_request(format!(
                "the message has {count} frames{more}: expected a header and at most one body, after an optional envelope of at most {ENVELOPE_FRAMES_MAX} frames with {ENVELOPE_BYTES_MAX} bytes that ends in an empty one"
            )));
        }
        let (header_bytes, body_bytes) = (header.len(), body.as_ref().map_or(0, |body| body.len()));
        if header_bytes > HEADER_BYTES_MAX {
            return Err(too_large("the header frame's length", header_bytes, HEADER_BYTES_MAX));
        }
        if body_bytes > BODY_BYTES_MAX {
            return Err(too_large("the body frame's length", body_bytes, BODY_BYTES_MAX));
        }
        Ok(Self { header, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_core::refusal::ErrorCode;

    type Opened = (Vec<Vec<u8>>, Result<Payload<Vec<u8>>, Refusal>);

    fn open(frames: &[&[u8]]) -> Opened {
        let (envelope, rest) = split_envelope(frames.iter().map(|frame| frame.to_vec()).collect());
        (envelope, Payload::open(rest))
    }

    #[track_caller]
    fn opens(frames: &[&[u8]], envelope: &[&[u8]], header: &[u8], body: Option<&[u8]>) {
        let (found, payload) = open(frames);
        assert_eq!(found, envelope, "the envelope of {frames:?}");
        let expected = Payload { header: header.to_vec(), body: body.map(<[u8]>::to_vec) };
        assert_eq!(payload.unwrap(), expected, "the payload of {frames:?}");
    }

    #[test]
    fn every_shape_of_envelope_is_told_from_its_message() {
        opens(&[b"{}"], &[], b"{}", None);
        opens(&[b"{}", b"body"], &[], b"{}", Some(b"body"));
        // An empty body is no delimiter: nothing comes after it.
        opens(&[b"{}", b""], &[], b"{}", Some(b""));
        for envelope in [
            &[&b""[..]][..],
            // A number that looks like the beginning of a header, and one that has zeros in it.
            &[b"{\"ab", b""],
            &[b"\0\0\0\x01", b""],
            &[b"\0\x6b\x8b\x45\x67", b"\0\0\0\x01", b""],
            &[b"{}", b"{}", b"{}", b""],
        ] {
            opens(&[envelope, &[b"{}"]].concat(), envelope, b"{}", None);
            opens(&[envelope, &[b"{}", b"body"]].concat(), envelope, b"{}", Some(b"body"));
            opens(&[envelope, &[b"{}", b""]].concat(), envelope, b"{}", Some(b""));
        }
    }

    #[test]
    fn envelopes_are_bounded_in_frames_and_bytes() {
        let mut deep: Vec<&[u8]> = vec![b"id"; ENVELOPE_FRAMES_MAX];
        deep.extend([&b""[..], b"{}", b"body"]);
        assert_eq!(deep.len(), FRAMES_MAX);
        opens(&deep, &deep[..=ENVELOPE_FRAMES_MAX], b"{}", Some(b"body"));
        deep.insert(0, b"one more");
        let (envelope, payload) = open(&deep);
        assert_eq!((envelope.len(), payload.unwrap_err().code), (0, ErrorCode::BadRequest));

        let mut long = vec![7; ENVELOPE_BYTES_MAX];
        opens(&[&long, b"", b"{}"], &[&long, b""], b"{}", None);
        long.push(7);
        let (envelope, payload) = open(&[&long, b"", b"{}"]);
        assert_eq!((envelope.len(), payload.unwrap_err().code), (0, ErrorCode::BadRequest));
    }

    #[test]
    fn wrong_frames_are_refused() {
        let wrong: [&[&[u8]]; 7] = [
            &[],
            &[b""],
            &[b"", b""],
            &[b"id", b"", b""],
            &[b"{}", b"a", b"b"],
            &[b"{}", b"a", b""],
            &[b"", b"{}", b"a", b"b"],
        ];
        for frames in wrong {
            let code = open(frames).1.unwrap_err().code;
            assert_eq!(code, ErrorCode::BadRequest, "{frames:?}");
        }
        // What can be told of the envelope is mirrored all the same.
        assert_eq!(open(wrong[3]).0, [b"id".to_vec(), vec![]]);
    }

    #[test]
    fn probes_are_told_from_requests() {
        assert!(is_probe(&[Vec::<u8>::new()]));
        for frames in [&[][..], &[vec![], vec![]], &[b"{}".to_vec()]] {
            assert!(!is_probe(frames), "{frames:?}");
        }
    }

    #[test]
    fn lengths_are_limited() {
        assert!(open(&[&vec![b' '; HEADER_BYTES_MAX]]).1.is_ok());
        assert!(open(&[b"{}", &vec![0; BODY_BYTES_MAX]]).1.is_ok());
        let header = open(&[&vec![b' '; HEADER_BYTES_MAX + 1]]).1.unwrap_err();
        let body = open(&[b"{}", &vec![0; BODY_BYTES_MAX + 1]]).1.unwrap_err();
        assert_eq!((header.code, body.code), (ErrorCode::TooLarge, ErrorCode::TooLarge));
    }
}
