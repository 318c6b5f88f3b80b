//! What every result begins with: who measured what, when, on which machine.
//!
//! Contract: made before the run. `parameters` has every value the run used, whether it was typed or not.

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use crate::cli::{Peer, Way, Work};
use crate::clock::date;
use crate::floor::Floor;
use crate::machine::Machine;
use crate::pin::Pin;
use crate::target::address::Scheme;

/// The header of a result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Header<'a> {
    /// The generator's version.
    pub(crate) loadgen: &'static str,
    /// RFC 3339, in UTC.
    pub(crate) started_at: String,
    pub(crate) machine: Machine,
    /// What was driven: a URL, or how it was started.
    pub(crate) server: String,
    /// Null where the system chose the cores.
    pub(crate) pinned: Option<&'a Pin>,
    pub(crate) parameters: &'a Work,
}

impl<'a> Header<'a> {
    /// For a run that begins now.
    pub(crate) fn new(work: &'a Work, peer: &Peer, pinned: Option<&'a Pin>) -> Self {
        Self {
            loadgen: env!("CARGO_PKG_VERSION"),
            started_at: date(),
            machine: Machine::here(),
            server: name(peer),
            pinned,
            parameters: work,
        }
    }
}

fn name(peer: &Peer) -> String {
    match peer {
        Peer::Running { target, .. } => target.to_string(),
        Peer::Spawned { path, args, scheme, way } => {
            let over = if *scheme == Scheme::Ws { String::new() } else { format!(" (over {scheme})") };
            let by = match way {
                Some(Way::Http) => " (published to by HTTP)",
                Some(Way::Ws) if *scheme != Scheme::Ws => " (published to by WebSocket)",
                _ => "",
            };
            format!("{}{over}{by}", command(path, &["serve"], args))
        }
        Peer::Nats { path, args } => command(path, &[], args),
        Peer::Floor(Floor { datagrams: true, .. }) => "floor --transport udp".to_owned(),
        Peer::Floor(Floor { coalesce: false, .. }) => "floor".to_owned(),
        Peer::Floor(Floor { coalesce: true, .. }) => "floor --coalesce".to_owned(),
    }
}

fn command(path: &Path, own: &[&str], args: &[OsString]) -> String {
    let words = own.iter().map(|word| (*word).to_owned());
    let args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    [path.display().to_string()].into_iter().chain(words).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_how_it_was_started() {
        let spawned = |scheme, way| {
            let args = vec!["--shards".into(), "2".into()];
            name(&Peer::Spawned { path: "a/stentor".into(), args, scheme, way })
        };
        assert_eq!(spawned(Scheme::Ws, Some(Way::Ws)), "a/stentor serve --shards 2");
        assert_eq!(
            spawned(Scheme::Tcp, Some(Way::Http)),
            "a/stentor serve --shards 2 (over tcp) (published to by HTTP)"
        );
        assert_eq!(name(&Peer::Floor(Floor { coalesce: true, datagrams: false })), "floor --coalesce");
    }
}
