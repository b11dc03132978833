//! Every message comes back as it went, and no bytes make a reader panic.

use kv_core::guard::Context;
use kv_core::limits::VALUE_BYTES_MAX_DEFAULT;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style};
use proptest::prelude::*;

use super::generated::{content, done, operation, request, style};

proptest! {
    #[test]
    fn requests_round_trip(request in request()) {
        let (header, body) = request.encode();
        let decoded = Request::decode(&header, body.as_deref(), VALUE_BYTES_MAX_DEFAULT).unwrap();
        prop_assert_eq!(decoded, request);
    }

    #[test]
    fn replies_round_trip_in_every_style(content in content(), style in style()) {
        let reply = Reply { id: Some(RequestId::Number(1)), content };
        let (header, body) = reply.clone().encode(Style { versions: true, ..style });
        prop_assert_eq!(Reply::decode(&header, body.as_deref()).unwrap(), reply);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(header in any::<Vec<u8>>(), body in any::<Option<Vec<u8>>>()) {
        let _ = Request::decode(&header, body.as_deref(), 10);
        let _ = Reply::decode(&header, body.as_deref());
        let _ = Request::decode(br#"{"op":"BATCH","operations":3}"#, body.as_deref(), 10);
        let _ = Reply::decode(br#"{"outcomes":3}"#, body.as_deref());
    }

    #[test]
    fn a_damaged_stream_is_never_read_past_its_end(
        operations in proptest::collection::vec(operation(), 1..5),
        outcomes in proptest::collection::vec(done().prop_map(Ok), 1..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let style = Style { versions: true, streams: true, ..Style::default() };
        let count = operations.len();
        let command = Command::Batch(operations);
        let request = Request { id: None, context: Context::default(), style, command };
        let (header, body) = request.encode();
        let mut body = body.unwrap();
        let cut = at.index(body.len());
        let read = |body: &[u8]| {
            Request::decode(&header, Some(body), VALUE_BYTES_MAX_DEFAULT).map(|it| it.command.into_owned())
        };
        prop_assert!(read(&body[..cut]).is_err());
        prop_assert!(read(&[&body[..], &[byte]].concat()).is_err());
        body[cut] = byte;
        // Bytes that are still a stream hold as many operations.
        if let Ok(Command::Batch(read)) = read(&body) {
            prop_assert_eq!(read.len(), count);
        }
        let reply = Reply { id: None, content: Content::Batch(outcomes) };
        let (header, body) = reply.encode(style);
        let mut body = body.unwrap();
        let cut = at.index(body.len());
        prop_assert!(Reply::decode(&header, Some(&body[..cut])).is_err());
        prop_assert!(Reply::decode(&header, Some(&[&body[..], &[byte]].concat())).is_err());
        body[cut] = byte;
        let _ = Reply::decode(&header, Some(&body));
    }

    #[test]
    fn no_damage_makes_a_reader_panic(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (mut header, body) = request.encode();
        let at = at.index(header.len());
        header[at] = byte;
        let _ = Request::decode(&header, body.as_deref(), VALUE_BYTES_MAX_DEFAULT);
        let _ = Reply::decode(&header, body.as_deref());
    }
}
