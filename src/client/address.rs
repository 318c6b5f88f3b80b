//! Where a server is, as a URL says it, and which of the three transports speaks to it.

use super::error::ClientError;
use std::fmt;

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Tcp,
    Udp,
}

impl Transport {
    fn scheme(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A server's URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) transport: Transport,
    /// `host:port` as it was typed.
    pub(super) authority: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// What a proxy wants before our paths; empty, or `/` and more, without a slash at the end.
    pub(super) prefix: String,
    /// Parameters for every request, such as a token; empty for none.
    pub(super) query: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, ClientError> {
        let shown = url.split('?').next().unwrap_or(url);
        let wrong = |why: &str| {
            ClientError::Usage(format!(
                "{shown:?} {why}; give the URL as ws://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT, for example \
                 ws://127.0.0.1:7400"
            ))
        };
        let (transport, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (Transport::WebSocket, rest),
            Some(("tcp", rest)) => (Transport::Tcp, rest),
            Some(("udp", rest)) => (Transport::Udp, rest),
            Some(("wss", _)) => return Err(wrong("asks for TLS, which this client does not support yet")),
            _ => return Err(wrong("is not a WebSocket URL, nor one of tcp or udp")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let prefix = prefix.trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside the brackets of an IPv6 address is not the port's.
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| wrong("has no valid port"))?)
            }
            _ if transport == Transport::WebSocket => (authority, 80),
            _ => return Err(wrong("has no port")),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains('@') {
            return Err(wrong("has no valid host"));
        }
        if transport != Transport::WebSocket && !(prefix.is_empty() && query.is_empty()) {
            return Err(wrong("has a path or parameters, which only WebSocket has"));
        }
        let [authority, host, prefix, query] = [authority, host, prefix, query].map(str::to_owned);
        Ok(Self { transport, authority, host, port, prefix, query })
    }

    /// The URL of a path on a WebSocket server.
    pub(super) fn request(&self, path: &str) -> String {
        let joint = match (self.query.is_empty(), path.contains('?')) {
            (true, _) => "",
            (false, false) => "?",
            (false, true) => "&",
        };
        format!("{self}{path}{joint}{}", self.query)
    }
}

/// Without the query: a token must not end up in an error message.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.transport.scheme(), self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_before_a_path() {
        let plain = Address::parse("ws://127.0.0.1:7400/").unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("127.0.0.1", 7400));
        assert_eq!(plain.request("/stream?seq=1"), "ws://127.0.0.1:7400/stream?seq=1");
        let full = Address::parse("ws://[::1]:9/feed/?token=t").unwrap();
        assert_eq!((full.host.as_str(), full.port), ("::1", 9));
        assert_eq!(full.request("/ws"), "ws://[::1]:9/feed/ws?token=t");
        assert_eq!(full.request("/stream?seq=1"), "ws://[::1]:9/feed/stream?seq=1&token=t");
        assert_eq!(full.to_string(), "ws://[::1]:9/feed");
        assert_eq!(Address::parse("ws://example.org").unwrap().port, 80);
        assert_eq!(Address::parse("tcp://h:1/").unwrap().transport, Transport::Tcp);
        assert_eq!(Address::parse("udp://h:1").unwrap().to_string(), "udp://h:1");
    }

    #[test]
    fn a_url_this_client_cannot_use_is_told_with_the_form() {
        for (url, part) in [
            ("wss://h:1", "TLS"),
            ("http://h:1", "not a WebSocket URL"),
            ("ws://h:x?token=secret", "port"),
            ("ws://:1", "host"),
            ("ws://u@h:1", "host"),
            ("tcp://h", "no port"),
            ("tcp://h:1?token=secret", "parameters"),
            ("udp://h:1/ws", "a path"),
        ] {
            let error = Address::parse(url).unwrap_err();
            let line = error.to_string();
            assert!(matches!(error, ClientError::Usage(_)));
            assert!(
                line.contains(part) && line.contains("ws://HOST:PORT") && !line.contains("secret"),
                "{line}"
            );
        }
    }
}
