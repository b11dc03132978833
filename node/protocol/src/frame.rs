//! The frames of a message: an optional empty delimiter, a JSON header, an optional body.
//!
//! A ZeroMQ REQ socket puts an empty frame before its message; a DEALER need not. A node accepts
//! both and answers each peer in its own way. The routing id, which a ROUTER puts before each
//! message that it receives, is not part of this.

use std::ops::Deref;

use crate::limits::{BODY_BYTES_MAX, FRAMES_MAX, HEADER_BYTES_MAX};
use crate::refusal::{Refusal, bad_request, too_large};

/// The domain of authentication of every socket. With one, libzmq hangs up on peers of ZMTP 1.0 and
/// 2.0, which could not be authenticated. Otherwise it would take all bytes that lack ZMTP 3's signature
/// for messages of ZMTP 1.0, such as the POST that a web page has a browser send. Nothing is bound where
/// libzmq would ask who may come, so all others are let in.
pub const ZAP_DOMAIN: &str = "kv";

/// A message's frames, as bytes that `B` owns or borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<B> {
    /// Whether an empty delimiter frame came first; the reply mirrors it.
    pub delimited: bool,
    /// The JSON header.
    pub header: B,
    /// The raw bytes that the header speaks of.
    pub body: Option<B>,
}

/// Whether a message that starts with `first` starts with a REQ socket's delimiter.
#[must_use]
pub fn is_delimiter(first: &[u8]) -> bool {
    first.is_empty()
}

impl<B: Deref<Target = [u8]>> Envelope<B> {
    /// Takes a message's frames apart, and checks their number and lengths.
    ///
    /// # Errors
    /// A refusal that says what is wrong with the frames.
    pub fn open(frames: Vec<B>) -> Result<Self, Refusal> {
        let count = frames.len();
        let mut frames = frames.into_iter().peekable();
        let delimited = frames.next_if(|frame| is_delimiter(frame)).is_some();
        let (header, body, rest) = (frames.next(), frames.next(), frames.next());
        let Some(header) = header else {
            return Err(bad_request("the message has no header frame: expected a JSON object"));
        };
        if rest.is_some() || count > FRAMES_MAX {
            return Err(bad_request(format!(
                "the message has {count} frames or more: expected a header and at most one body, after an optional empty delimiter"
            )));
        }
        let (header_bytes, body_bytes) = (header.len(), body.as_ref().map_or(0, |body| body.len()));
        if header_bytes > HEADER_BYTES_MAX {
            return Err(too_large("the header frame's length", header_bytes, HEADER_BYTES_MAX));
        }
        if body_bytes > BODY_BYTES_MAX {
            return Err(too_large("the body frame's length", body_bytes, BODY_BYTES_MAX));
        }
        Ok(Self { delimited, header, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::ErrorCode;

    fn open(frames: &[&[u8]]) -> Result<Envelope<Vec<u8>>, Refusal> {
        Envelope::open(frames.iter().map(|frame| frame.to_vec()).collect())
    }

    #[test]
    fn both_kinds_of_peer_are_understood() {
        let expected = Envelope { delimited: false, header: b"{}".to_vec(), body: None };
        assert_eq!(open(&[b"{}"]).unwrap(), expected);
        let expected = Envelope { delimited: true, header: b"{}".to_vec(), body: Some(vec![7]) };
        assert_eq!(open(&[b"", b"{}", &[7]]).unwrap(), expected);
        assert_eq!(open(&[b"{}", b""]).unwrap().body, Some(vec![]));
    }

    #[test]
    fn wrong_frames_are_refused() {
        let too_many: [&[u8]; 4] = [b"", b"{}", b"a", b"b"];
        for frames in [&[], &too_many[..1], &too_many[1..], &too_many] {
            assert_eq!(open(frames).unwrap_err().code, ErrorCode::BadRequest, "{frames:?}");
        }
    }

    #[test]
    fn lengths_are_limited() {
        assert!(open(&[&vec![b' '; HEADER_BYTES_MAX]]).is_ok());
        assert!(open(&[b"{}", &vec![0; BODY_BYTES_MAX]]).is_ok());
        let header = open(&[&vec![b' '; HEADER_BYTES_MAX + 1]]).unwrap_err();
        let body = open(&[b"{}", &vec![0; BODY_BYTES_MAX + 1]]).unwrap_err();
        assert_eq!((header.code, body.code), (ErrorCode::TooLarge, ErrorCode::TooLarge));
    }
}
