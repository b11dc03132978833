//! Which requests are heard at all.
//!
//! The agent has no access control: any program on this machine may use it. A web page in
//! a browser on this machine may not, though it can send requests here. One that sends them from its
//! own origin gives itself away by an `Origin` header. One whose name was made to point to this
//! machine is of the same origin, and gives itself away by that name, which the browser puts into
//! `Host`. So the agent answers to its own names only, and never to a page.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use kv_core::printable::printable;

use super::Api;
use super::reply::ApiError;

/// How much of a name that is not the agent's own is quoted, in characters.
const QUOTED_CHARS_MAX: usize = 80;

/// Passes on what may be heard, and gives a change a bounded time.
pub(super) async fn admit(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if request.headers().contains_key(ORIGIN) {
        return Err(ApiError::Forbidden(
            "this agent answers no web pages: the request has an Origin header".to_owned(),
        ));
    }
    let named = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    // A request to a proxy names the host in its first line as well.
    let named = named.chain(request.uri().authority().map(|it| it.as_str().as_bytes()));
    for name in named {
        if !is_own(name, api.address) {
            let name: String =
                String::from_utf8_lossy(name).chars().take(QUOTED_CHARS_MAX).collect();
            return Err(ApiError::Misdirected(format!(
                "this agent is not {:?}: it answers to localhost and {}, with the port {} or without",
                printable(name),
                api.address.ip(),
                api.address.port(),
            )));
        }
    }
    // A read may wait for news, for as long as its asker stays.
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    let within = api.change_within;
    tokio::time::timeout(within, next.run(request)).await.map_err(|_| {
        ApiError::Late(format!(
            "the request did not come, or was not carried out, within {within:?}"
        ))
    })
}

/// Whether `named`, a host with a port or without, is the agent that listens at `address`.
fn is_own(named: &[u8], address: SocketAddr) -> bool {
    let Ok(authority) = Authority::try_from(named) else { return false };
    // A user before the host is nothing that a client of Consul sends.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().to_ascii_lowercase();
    let own = match address.ip() {
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    let is_own_host = ["localhost", "127.0.0.1", "[::1]", &own].contains(&host.as_str());
    let port = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    is_own_host && (port.is_empty() || port == format!(":{}", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_names_are_its_own() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8500));
        for own in ["localhost", "LocalHost:8500", "127.0.0.1", "127.0.0.1:8500", "[::1]:8500"] {
            assert!(is_own(own.as_bytes(), address), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:8500",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "0.0.0.0:8500",
            "localhost:8501",
            "localhost:",
            "localhost:08500",
            "evil@localhost",
            "::1",
            "localhost\u{e9}",
        ] {
            assert!(!is_own(other.as_bytes(), address), "{other}");
        }
        let elsewhere = SocketAddr::from(([192, 168, 0, 7], 80));
        assert!(is_own(b"192.168.0.7", elsewhere) && is_own(b"localhost:80", elsewhere));
        let six = "[fd00::1]:80".parse().unwrap();
        assert!(is_own(b"[fd00::1]:80", six) && !is_own(b"[fd00::2]:80", six));
    }
}
