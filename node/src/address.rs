//! Where a node listens, and where others find it: what `--host` and `--advertise` mean.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use kv_core::limits::HOST_BYTES_MAX;

/// How long a name may take to be resolved.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
/// The longest part of a host name between dots, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The address that it listens on.
    pub listen: IpAddr,
    /// The name or address by which others reach it.
    pub advertised: String,
}

/// A host that a node cannot listen on, or that others cannot reach it by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHost {
    /// It is no host of this machine.
    #[error(
        "cannot listen on {host}: {problem}; expected an address of this machine, or a name that resolves to one"
    )]
    Listen {
        /// The argument, as the operator gave it.
        host: String,
        /// Why the node cannot listen there.
        problem: String,
    },
    /// It is every address, and no peer can connect to that.
    #[error("--host {0} is no address that others can reach: name one with --advertise")]
    NoneToAdvertise(String),
    /// No peer could connect to it.
    #[error(
        "others cannot connect to --advertise {host}: {problem}; expected a host name or an address, without a port"
    )]
    Advertise {
        /// The argument, as the operator gave it.
        host: String,
        /// Why it leads nowhere.
        problem: String,
    },
}

impl Addresses {
    /// Understands `--host` and `--advertise`. Names are resolved once, at the start.
    ///
    /// # Errors
    /// [`InvalidHost`] where the node cannot listen there, or no peer can connect to it.
    pub async fn resolve(host: &str, advertise: Option<&str>) -> Result<Self, InvalidHost> {
        let listen = own_address(host).await?;
        let advertised = match advertise {
            Some(advertised) => reachable(advertised).await?,
            None if listen.is_unspecified() => {
                return Err(InvalidHost::NoneToAdvertise(host.to_owned()));
            }
            // The name may mean something else elsewhere.
            None => listen.to_string(),
        };
        Ok(Self { listen, advertised })
    }
}

/// A host and a port as people write them.
#[must_use]
pub fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The address of this machine that `host` means.
async fn own_address(host: &str) -> Result<IpAddr, InvalidHost> {
    // As ZeroMQ writes it.
    if host == "*" {
        return Ok(Ipv4Addr::UNSPECIFIED.into());
    }
    let invalid = |problem: String| InvalidHost::Listen { host: host.to_owned(), problem };
    // All addresses can be listened on, though no peer can connect to them.
    let usable = |address: IpAddr| address.is_unspecified() || !leads_nowhere(address);
    if let Some(address) = parse(host) {
        return if usable(address) { Ok(address) } else { Err(invalid(no_machines(address))) };
    }
    check_name(host).map_err(invalid)?;
    let resolved = lookup(host).await.map_err(invalid)?;
    let is_own = |it: &&IpAddr| usable(**it) && TcpListener::bind((**it, 0)).is_ok();
    resolved.iter().find(is_own).copied().ok_or_else(|| {
        let resolved: Vec<String> = resolved.iter().map(ToString::to_string).collect();
        invalid(format!("it resolves to {}, which is another machine's", resolved.join(" and ")))
    })
}

/// `host` as others connect to it, where they can.
async fn reachable(host: &str) -> Result<String, InvalidHost> {
    let invalid = |problem: String| InvalidHost::Advertise { host: host.to_owned(), problem };
    let resolved = match parse(host) {
        Some(address) => vec![address],
        None => {
            check_name(host).map_err(invalid)?;
            lookup(host).await.map_err(invalid)?
        }
    };
    if let Some(address) = resolved.into_iter().find(|address| leads_nowhere(*address)) {
        return Err(invalid(no_machines(address)));
    }
    // An address is advertised without the brackets that it may have been given in.
    Ok(parse(host).map_or_else(|| host.to_owned(), |address| address.to_string()))
}

/// Whether an address is no machine's own, so that no peer can connect to it: all addresses, many machines,
/// what IPv4 has set aside as "this network" and for later, and what means nothing without an interface.
fn leads_nowhere(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => it.is_multicast() || it.octets()[0] == 0 || it.octets()[0] >= 240,
        IpAddr::V6(it) => it.is_unspecified() || it.is_multicast() || it.is_unicast_link_local(),
    }
}

fn no_machines(address: IpAddr) -> String {
    format!("{address} is no machine's own address")
}

/// The address that a text is, be it in brackets or not. One of IPv4 in the clothes of IPv6 is that of IPv4.
fn parse(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Checks that a text can be the name of a host.
fn check_name(host: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
    };
    // A name of numbers alone is an address that is none.
    let is_number = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label) && !is_number {
        Ok(())
    } else {
        Err("it is neither an address nor the name of a host".to_owned())
    }
}

/// The addresses of a name, those of IPv4 first: a node that listens on a name of both kinds is found
/// by programs that know only the older one.
async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, 0))).await;
    let found: io::Result<Vec<IpAddr>> = match found {
        Ok(found) => found
            .map(|found| found.map(|address: SocketAddr| address.ip().to_canonical()).collect()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let mut found = found.map_err(|error| format!("the name cannot be resolved ({error})"))?;
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that are addresses, and never a machine's.
    const NO_MACHINES: [&str; 12] = [
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "254.1.2.3",
        "0.0.0.1",
        "0.1.2.3",
        "::ffff:224.0.0.1",
        "[::ffff:255.255.255.255]",
        "::ffff:0.0.0.1",
        "ff02::1",
        "fe80::1",
    ];

    async fn advertised(host: &str, advertise: Option<&str>) -> Result<String, InvalidHost> {
        Addresses::resolve(host, advertise).await.map(|addresses| addresses.advertised)
    }

    #[tokio::test]
    async fn an_address_or_a_name_of_this_machine_is_listened_on() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        for host in ["127.0.0.1", "localhost"] {
            let addresses = Addresses::resolve(host, None).await.unwrap();
            assert_eq!((addresses.listen, addresses.advertised.as_str()), (loopback, "127.0.0.1"));
        }
        assert_eq!(advertised("[::1]", None).await.unwrap(), "::1");
        for host in
            ["", "not an address", "a:b", "http://a", "-a", "127.0.0.256", "1", "no.invalid"]
                .into_iter()
                .chain(NO_MACHINES)
        {
            let error = advertised(host, Some("127.0.0.1")).await.unwrap_err();
            assert!(error.to_string().contains("cannot listen on"), "{host}: {error}");
        }
        for host in ["0.0.0.0", "::", "[::]", "*", "::ffff:0.0.0.0"] {
            let error = advertised(host, None).await.unwrap_err();
            assert!(matches!(error, InvalidHost::NoneToAdvertise(_)), "{error}");
            assert_eq!(advertised(host, Some("localhost")).await.unwrap(), "localhost");
        }
    }

    #[tokio::test]
    async fn what_nobody_can_connect_to_is_not_advertised() {
        for host in ["192.0.2.1", "::1", "[fd00::1]", "localhost", "[::ffff:192.0.2.1]"] {
            let bare = host.trim_matches(['[', ']']).trim_start_matches("::ffff:");
            assert_eq!(advertised("127.0.0.1", Some(host)).await.unwrap(), bare);
        }
        for host in [
            "",
            " ",
            "a b",
            "a\nb",
            "tcp://a",
            "a/b",
            "a..b",
            "*",
            "127.0.0.1:2000",
            "localhost:2000",
            "[::1]:2000",
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "1.2.3",
            "no.invalid",
            &"a".repeat(254),
        ]
        .into_iter()
        .chain(NO_MACHINES)
        {
            let error = advertised("127.0.0.1", Some(host)).await.unwrap_err();
            assert!(matches!(error, InvalidHost::Advertise { .. }), "{host}: {error}");
        }
    }
}
