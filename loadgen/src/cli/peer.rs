//! Whom to drive, as it was typed and as it is meant.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::{FloorChoice, PeerArgs, TemplateArgs, Transport, Way};
use super::at_least;
use crate::cost::can_watch;
use crate::floor::Floor;
use crate::target::address::{Address, Scheme};
use crate::target::websocket::Templates;
use crate::target::{Manner, Publishing, Target};

/// Whom to drive.
#[derive(Debug)]
pub(crate) enum Peer {
    /// It runs already; its process, where it is to be watched.
    Running { target: Box<Target>, pid: Option<u32> },
    /// Stentor, to be started with these arguments behind ours.
    Spawned { path: PathBuf, args: Vec<OsString>, scheme: Scheme, way: Option<Way> },
    /// A NATS server, likewise.
    Nats { path: PathBuf, args: Vec<OsString> },
    /// Our own.
    Floor(Floor),
}

pub(super) const SERVER_ARGS: &str = "arguments after -- are for the server of --spawn or --spawn-nats";

pub(super) fn peer(args: PeerArgs) -> Result<Peer, String> {
    if let Some(pid) = args.pid {
        let rule = format!("{pid}: there is no such process, or it may not be watched");
        at_least("pid", can_watch(pid), &rule)?;
    }
    let spawns = args.spawn.is_some() || args.spawn_nats.is_some();
    if !spawns && !args.server_args.is_empty() {
        return Err(SERVER_ARGS.to_owned());
    }
    let templates = templates(args.templates)?;
    if spawns && templates.is_some() {
        return Err(
            "--ws-path and the texts are for --url: a spawned server is spoken to in its own way".to_owned()
        );
    }
    match (args.spawn, args.spawn_nats, args.url) {
        (Some(path), ..) => {
            let scheme = match args.transport {
                None | Some(Transport::Ws) => Scheme::Ws,
                Some(Transport::Tcp) => Scheme::Tcp,
                Some(Transport::Udp) => Scheme::Udp,
            };
            Ok(Peer::Spawned { path, args: args.server_args, scheme, way: args.publish_via })
        }
        (_, Some(_), _) if args.publish_via.is_some() => Err("--publish-via is for Stentor".to_owned()),
        (_, Some(path), _) => Ok(Peer::Nats { path, args: args.server_args }),
        (_, _, Some(url)) => {
            let operator = args.admin.as_deref().map(Address::operator).transpose();
            let operator = operator.map_err(|error| error.to_string())?;
            let scheme = Address::server(&url).map_err(|error| error.to_string())?.scheme;
            let publishing = match args.publish_via {
                Some(Way::Http) if operator.is_none() => {
                    return Err("--publish-via http needs --admin, where to post to".to_owned());
                }
                Some(Way::Http) => Publishing::Http,
                Some(Way::Ws) if scheme != Scheme::Ws => {
                    return Err(
                        "--publish-via ws is for ws://, where to connect to, and for --spawn".to_owned()
                    );
                }
                None if scheme == Scheme::Udp && operator.is_none() => {
                    return Err("udp:// needs --admin, where to publish".to_owned());
                }
                None if scheme == Scheme::Udp => Publishing::Http,
                Some(Way::Ws) | None => Publishing::Own,
            };
            if templates.is_some() && scheme != Scheme::Ws {
                return Err("--ws-path and the texts are for ws://".to_owned());
            }
            let manner = Manner { templates, publishing, operator };
            let target = Target::new(&url, manner).map_err(|error| error.to_string())?;
            Ok(Peer::Running { target: Box::new(target), pid: args.pid })
        }
        (None, None, None) => Err("--url, --spawn or --spawn-nats is needed".to_owned()),
    }
}

fn templates(args: TemplateArgs) -> Result<Option<Templates>, String> {
    let TemplateArgs { ws_path, subscribe_text, subscribed_text, publish_path, publish_text } = args;
    if ws_path.is_none() && subscribe_text.is_none() && publish_path.is_none() && publish_text.is_none() {
        return Ok(None);
    }
    let subscribe_path = ws_path.unwrap_or_else(|| "/".to_owned());
    let publish_path = publish_path.unwrap_or_else(|| subscribe_path.clone());
    let publish_text = publish_text.unwrap_or_else(|| "{payload}".to_owned());
    for (name, path) in [("ws-path", &subscribe_path), ("publish-path", &publish_path)] {
        at_least(name, path.starts_with('/'), "must begin with /")?;
    }
    at_least("publish-text", publish_text.contains("{payload}"), "must contain {payload}")?;
    at_least("subscribed-text", subscribed_text.as_deref() != Some(""), "must not be empty")?;
    Ok(Some(Templates { subscribe_path, subscribe_text, subscribed_text, publish_path, publish_text }))
}

/// The floor, where the flag `wanted` asks for one.
pub(super) fn floor_if(
    wanted: bool,
    choice: FloorChoice,
    flag: &str,
    datagrams: bool,
) -> Result<Option<Floor>, String> {
    let floor = chosen(choice, datagrams)?;
    match wanted {
        false if floor.coalesce => Err(format!("--coalesce needs {flag}")),
        wanted => Ok(wanted.then_some(floor)),
    }
}

pub(super) fn chosen(choice: FloorChoice, datagrams: bool) -> Result<Floor, String> {
    if choice.coalesce && datagrams {
        return Err("--coalesce is for streams: each message is a datagram of its own".to_owned());
    }
    Ok(Floor { coalesce: choice.coalesce, datagrams })
}

impl PeerArgs {
    /// True exactly when subscribers are to be sent datagrams.
    pub(super) fn asks_for_datagrams(&self) -> bool {
        self.transport == Some(Transport::Udp)
            || self
                .url
                .as_deref()
                .is_some_and(|url| Address::server(url).is_ok_and(|at| at.scheme == Scheme::Udp))
    }
}

/// Why it has no operations and acks, where it has none.
pub(super) fn no_acks(peer: &Peer) -> Option<&'static str> {
    let is_stentor = match peer {
        Peer::Running { target, .. } => target.is_stentor(),
        Peer::Spawned { .. } => true,
        Peer::Nats { .. } | Peer::Floor(_) => false,
    };
    (!is_stentor).then_some("this needs Stentor's acks: use --spawn, or a --url without texts of its own")
}

/// Why it has no connections, where it has none.
pub(super) fn no_connections(peer: &Peer) -> Option<&'static str> {
    let is_sent_datagrams = match peer {
        Peer::Running { target, .. } => target.may_lose(),
        Peer::Spawned { scheme, .. } => *scheme == Scheme::Udp,
        Peer::Nats { .. } | Peer::Floor(_) => false,
    };
    is_sent_datagrams.then_some(
        "datagrams have no connections that could be cut off, held up or checked from ack to ack: use ws or tcp",
    )
}

/// Why a plan with several topics cannot be carried out there, where it cannot.
pub(super) fn one_topic_only(peer: &Peer) -> Option<&'static str> {
    match peer {
        Peer::Running { target, .. } => target.one_topic_only(),
        Peer::Spawned { .. } | Peer::Nats { .. } | Peer::Floor(_) => None,
    }
}
