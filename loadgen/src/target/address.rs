//! Where a server is: a URL taken apart.
//!
//! Contract: pure; names are resolved elsewhere. A path in the URL is kept in front of every path that is asked for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use tokio_tungstenite::tungstenite::http::Uri;

use crate::limits::CONNECTIONS_PER_SOURCE;

/// `scheme://host[:port][/prefix]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    /// Name or address, without brackets.
    pub(crate) host: String,
    /// The scheme's own when the URL names none.
    pub(crate) port: u16,
    /// Host and port as they were written.
    pub(crate) authority: String,
    prefix: String,
}

/// What is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ws,
    Tcp,
    Udp,
    Nats,
    Http,
}

/// Why a URL cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{0}` is not a URL; it should look like ws://127.0.0.1:7400 or tcp://127.0.0.1:7401")]
    NotAUrl(String),
    #[error("`{0}` cannot be driven: only ws://, tcp://, udp:// and nats:// are supported (no TLS)")]
    Scheme(String),
    #[error("`{0}` is no operator port; it should look like http://127.0.0.1:7480")]
    Operator(String),
}

impl Address {
    /// Takes a server's URL apart.
    pub(crate) fn server(url: &str) -> Result<Self, AddressError> {
        match Self::parse(url) {
            Ok(address) if address.scheme == Scheme::Http => Err(AddressError::Scheme(url.to_owned())),
            other => other,
        }
    }

    /// Takes an operator port's URL apart.
    pub(crate) fn operator(url: &str) -> Result<Self, AddressError> {
        match Self::parse(url) {
            Ok(address) if address.scheme == Scheme::Http => Ok(address),
            _ => Err(AddressError::Operator(url.to_owned())),
        }
    }

    fn parse(url: &str) -> Result<Self, AddressError> {
        let not_a_url = || AddressError::NotAUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| not_a_url())?;
        let (scheme, port) = match uri.scheme_str() {
            Some("ws") => (Scheme::Ws, 80),
            Some("tcp") => (Scheme::Tcp, 0),
            Some("udp") => (Scheme::Udp, 0),
            Some("nats") => (Scheme::Nats, 4222),
            Some("http") => (Scheme::Http, 80),
            Some(_) => return Err(AddressError::Scheme(url.to_owned())),
            None => return Err(not_a_url()),
        };
        let authority = uri.authority().ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(not_a_url());
        }
        let port = authority.port_u16().unwrap_or(port);
        // Frames have no paths, and no port that is everywhere the same.
        if matches!(scheme, Scheme::Tcp | Scheme::Udp) && (port == 0 || uri.path().len() > 1) {
            return Err(not_a_url());
        }
        Ok(Self {
            scheme,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// `path` at this server, without scheme and authority.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ws => "ws",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Nats => "nats",
            Self::Http => "http",
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// The address that connection `index` to `server` should come from, if it matters: one address has about 28,000 ports
/// towards one server, and only on Linux is all of 127.0.0.0/8 ours without configuration.
pub(crate) fn source_for(index: usize, server: IpAddr) -> Option<IpAddr> {
    let block = u32::try_from(index / CONNECTIONS_PER_SOURCE).ok()?;
    // The first block goes unbound: the kernel then chooses a port per destination, which wastes none.
    if block == 0 || !cfg!(target_os = "linux") || !server.is_ipv4() || !server.is_loopback() {
        return None;
    }
    let address = u32::from(Ipv4Addr::LOCALHOST).checked_add(block)?;
    Some(IpAddr::V4(Ipv4Addr::from(address)))
}

/// Percent-encodes all but what RFC 3986 leaves plain in a path segment and real topic names use.
pub(crate) fn encode(topic: &str) -> String {
    let mut out = String::with_capacity(topic.len());
    for byte in topic.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'@'
            | b':'
            | b'!'
            | b'$' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_port_and_paths() {
        let address = Address::server("ws://127.0.0.1:7400").unwrap();
        assert_eq!(
            (address.host.as_str(), address.port, address.path("/ws")),
            ("127.0.0.1", 7400, "/ws".into())
        );
        let address = Address::server("ws://[::1]:81/edge/").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 81));
        assert_eq!(
            (address.path("/ws"), address.to_string()),
            ("/edge/ws".into(), "ws://[::1]:81/edge".into())
        );
        assert_eq!(Address::server("ws://example").unwrap().port, 80);
        assert_eq!(Address::server("nats://example").unwrap().port, 4222);
        assert_eq!(Address::operator("http://h:7480/").unwrap().to_string(), "http://h:7480");
        assert_eq!(encode("btc@trade/1 ü"), "btc@trade%2F1%20%C3%BC");
    }

    #[test]
    fn what_cannot_be_driven_is_refused() {
        for url in ["wss://example", "http://example"] {
            assert!(matches!(Address::server(url), Err(AddressError::Scheme(_))), "{url}");
        }
        for url in
            ["127.0.0.1:7400", "", "ws://", "ws://u@h", "ws://h/?x=1", "tcp://h", "tcp://h:0", "tcp://h:1/ws"]
        {
            assert!(matches!(Address::server(url), Err(AddressError::NotAUrl(_))), "{url}");
            assert!(matches!(Address::operator(url), Err(AddressError::Operator(_))), "{url}");
        }
    }

    #[test]
    fn sources_are_spread_on_loopback_only() {
        let local = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(source_for(CONNECTIONS_PER_SOURCE - 1, local), None);
        assert_eq!(source_for(CONNECTIONS_PER_SOURCE, IpAddr::from([10, 0, 0, 1])), None);
        if cfg!(target_os = "linux") {
            assert_eq!(source_for(CONNECTIONS_PER_SOURCE, local), Some(IpAddr::from([127, 0, 0, 2])));
            assert_eq!(source_for(CONNECTIONS_PER_SOURCE * 300, local), Some(IpAddr::from([127, 0, 1, 45])));
        }
    }
}
