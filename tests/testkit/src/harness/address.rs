//! Hosts and ports.

/// The port of a host and port.
///
/// # Panics
/// Where it has none.
#[track_caller]
pub fn port_of(address: &str) -> u16 {
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    port.expect("the address ends in a port")
}
