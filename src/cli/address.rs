//! Where a server is, as `--url` says it.

use super::failure::Failure;
use std::fmt;

/// A server's URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// `host:port` as it was typed.
    pub(super) authority: &'a str,
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// What a proxy wants before our paths; empty, or `/` and more, without a slash at the end.
    pub(super) prefix: &'a str,
    /// Parameters for every request, such as a token; empty for none.
    pub(super) query: &'a str,
}

impl<'a> Address<'a> {
    pub(super) fn parse(url: &'a str) -> Result<Self, Failure> {
        let shown = url.split('?').next().unwrap_or(url);
        let wrong = |why: &str| {
            Failure::usage(format!(
                "{shown:?} {why}; give --url as ws://HOST:PORT, for example ws://127.0.0.1:7400"
            ))
        };
        let Some(rest) = url.strip_prefix("ws://") else {
            return Err(if url.starts_with("wss://") {
                wrong("asks for TLS, which this client does not support yet")
            } else {
                wrong("is not a WebSocket URL")
            });
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside the brackets of an IPv6 address is not the port's.
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| wrong("has no valid port"))?)
            }
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains('@') {
            return Err(wrong("has no valid host"));
        }
        Ok(Self { authority, host, port, prefix: prefix.trim_end_matches('/'), query })
    }

    pub(super) fn request(&self, path: &str) -> String {
        let joint = match (self.query.is_empty(), path.contains('?')) {
            (true, _) => "",
            (false, false) => "?",
            (false, true) => "&",
        };
        format!("ws://{}{}{path}{joint}{}", self.authority, self.prefix, self.query)
    }
}

/// Without the query: a token must not end up in an error message.
impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.prefix)
    }
}
