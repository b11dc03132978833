//! Where a node listens.

use std::fmt;

/// The address of a node's socket, in ZeroMQ's form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

/// A host and port that cannot be connected to.
#[derive(Debug, thiserror::Error)]
#[error(
    "{host:?} port {port} is not an address: expected a host name or IP address, and a port from 1"
)]
pub struct InvalidAddress {
    host: String,
    port: u16,
}

/// The longest host name that the DNS knows, in bytes.
const HOST_BYTES_MAX: usize = 253;

impl Endpoint {
    /// The endpoint of a TCP socket. An IPv6 address may stand in brackets or not.
    ///
    /// # Errors
    /// [`InvalidAddress`] where `host` can be neither a name nor an address, or `port` is 0.
    pub fn tcp(host: &str, port: u16) -> Result<Self, InvalidAddress> {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if !(1..=HOST_BYTES_MAX).contains(&bare.len()) || !bare.bytes().all(plain) || port == 0 {
            // A stranger's long text is cut, so that the message stays readable.
            return Err(InvalidAddress { host: host.chars().take(80).collect(), port });
        }
        let brackets = if bare.contains(':') { ["[", "]"] } else { ["", ""] };
        Ok(Self(format!("tcp://{}{bare}{}:{port}", brackets[0], brackets[1])))
    }

    /// The endpoint in ZeroMQ's form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    /// The address as people write it: `host:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_start_matches("tcp://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_become_endpoints() {
        for (host, expected) in [
            ("127.0.0.1", "tcp://127.0.0.1:2000"),
            ("node-0.example", "tcp://node-0.example:2000"),
            ("::1", "tcp://[::1]:2000"),
            ("[fe80::1]", "tcp://[fe80::1]:2000"),
        ] {
            let endpoint = Endpoint::tcp(host, 2000).unwrap();
            assert_eq!(endpoint.as_str(), expected);
            assert_eq!(endpoint.to_string(), expected.trim_start_matches("tcp://"));
        }
    }

    #[test]
    fn what_no_socket_could_connect_to_is_refused() {
        for host in ["", "a b", "a\0b", "*", "host/path", "h;tcp://other", &"h".repeat(254)] {
            assert!(Endpoint::tcp(host, 2000).is_err(), "{host:?}");
        }
        assert!(Endpoint::tcp(&"h".repeat(253), 2000).is_ok());
        assert!(Endpoint::tcp("host", 0).is_err());
    }
}
