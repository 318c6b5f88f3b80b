//! The server to drive, as one URL, and the addresses and requests that follow from it.
//!
//! Contract: pure; names are resolved elsewhere. A path in the URL is kept in front of `/ws/` and `/publish/`, and a topic is
//! one path segment, percent-encoded.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::limits::CONNECTIONS_PER_SOURCE;

/// `ws://host[:port][/prefix]`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name or address, without brackets.
    pub(crate) host: String,
    /// 80 when the URL names none.
    pub(crate) port: u16,
    authority: String,
    prefix: String,
}

/// Why a URL cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("`{0}` is not a URL; it should look like ws://127.0.0.1:7400")]
    NotAUrl(String),
    #[error("`{0}` cannot be driven: only ws:// is supported (no TLS)")]
    Scheme(String),
}

impl Target {
    /// Takes a URL apart.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let not_a_url = || TargetError::NotAUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| not_a_url())?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some(_) => return Err(TargetError::Scheme(url.to_owned())),
            None => return Err(not_a_url()),
        }
        let authority = uri.authority().ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(not_a_url());
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Where one subscribes to a topic.
    pub(crate) fn subscribe_url(&self, topic: &str) -> String {
        format!("ws://{}{}/ws/{}", self.authority, self.prefix, encode(topic))
    }

    /// Where one publishes to a topic.
    pub(crate) fn publish_url(&self, topic: &str) -> String {
        format!("ws://{}{}/publish/{}", self.authority, self.prefix, encode(topic))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.prefix)
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
fn encode(topic: &str) -> String {
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
    fn a_url_gives_host_port_and_requests() {
        let target = Target::parse("ws://127.0.0.1:7400").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("127.0.0.1", 7400));
        assert_eq!(target.subscribe_url("t"), "ws://127.0.0.1:7400/ws/t");
        let target = Target::parse("ws://[::1]:81/edge/").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 81));
        assert_eq!(target.publish_url("btc@trade/1 ü"), "ws://[::1]:81/edge/publish/btc@trade%2F1%20%C3%BC");
        assert_eq!(Target::parse("ws://example").unwrap().port, 80);
    }

    #[test]
    fn what_cannot_be_driven_is_refused() {
        assert!(matches!(Target::parse("wss://example"), Err(TargetError::Scheme(_))));
        assert!(matches!(Target::parse("http://example"), Err(TargetError::Scheme(_))));
        for url in ["127.0.0.1:7400", "", "ws://", "ws://u@h", "ws://h/?x=1"] {
            assert!(matches!(Target::parse(url), Err(TargetError::NotAUrl(_))), "{url}");
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
