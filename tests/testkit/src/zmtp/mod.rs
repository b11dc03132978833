//! ZeroMQ's own protocol over plain TCP, for peers that no library would let misbehave: the frames that
//! they write and read, and [`RawPeer`].

use std::io::{self, Read};

mod peer;

pub use peer::RawPeer;

/// The flag of a frame that is followed by others of its message.
pub const MORE: u8 = 1;
/// The flag of a command.
pub const COMMAND: u8 = 4;
/// The flag of a frame whose length takes eight bytes.
const LONG: u8 = 2;

/// What a peer of version 3.0 without security says first.
#[must_use]
pub fn greeting() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// A command: its name, and what follows it.
///
/// # Panics
/// Where the name is too long.
#[must_use]
pub fn command(name: &str, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::try_from(name.len()).expect("names are short")];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(rest);
    frame(COMMAND, &body)
}

/// The command by which a peer says what it is.
pub fn ready(properties: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in properties {
        body.push(u8::try_from(name.len()).expect("names are short"));
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&u32::try_from(value.len()).expect("it is short").to_be_bytes());
        body.extend_from_slice(value);
    }
    command("READY", &body)
}

/// A frame that is followed by others of its message.
#[must_use]
pub fn part(bytes: &[u8]) -> Vec<u8> {
    frame(MORE, bytes)
}

/// A frame; one that is the last of its message has no flags.
#[must_use]
pub fn frame(flags: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = match u8::try_from(bytes.len()) {
        Ok(length) => vec![flags, length],
        Err(_) => {
            let mut head = head_of_long_frame(bytes.len() as u64);
            head[0] |= flags;
            head
        }
    };
    frame.extend_from_slice(bytes);
    frame
}

/// The head of a frame that claims to have `length` bytes.
#[must_use]
pub fn head_of_long_frame(length: u64) -> Vec<u8> {
    let mut head = vec![LONG];
    head.extend_from_slice(&length.to_be_bytes());
    head
}

/// Reads a frame: its flags and its body.
///
/// # Errors
/// The stream's.
pub fn read_frame(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut flags = [0];
    stream.read_exact(&mut flags)?;
    let mut length = [0; 8];
    let digits = if flags[0] & LONG == 0 { &mut length[7..] } else { &mut length[..] };
    stream.read_exact(digits)?;
    let length = usize::try_from(u64::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok((flags[0], bytes))
}
