//! Settings: what was said (flag, environment, file) becomes one validated [`Settings`].
//!
//! A setting has one name everywhere: `limits.queue_bytes` in the file is `STENTOR_LIMITS_QUEUE_BYTES` in the
//! environment and `--set limits.queue_bytes=…` on the command line.

mod address;
mod identity;
mod layers;
mod multicast;
mod networks;
mod rules;
mod worst_case;

pub use identity::{IdentitySettings, SecondSession};
pub(crate) use layers::differing;
pub use layers::{ConfigError, Layers};
pub use multicast::Multicast;
pub use networks::{NetworkError, Networks};
pub use rules::{Rule, Snapshot};
pub use worst_case::WorstCase;

use crate::limits::{DESCRIPTORS_RESERVED, FRAME_COPIED_BYTES_MAX, Limits};
use crate::mailbox::ITEMS_MAX;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// Everything that can be set, with its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where WebSocket clients connect. Port 0: any free one.
    pub listen: SocketAddr,
    #[serde(with = "address")]
    /// Where TCP clients connect, with length-prefixed frames. Empty: nowhere. Port 0: any free one.
    pub tcp: Option<SocketAddr>,
    #[serde(with = "address")]
    /// Where datagrams come, of those who subscribe by UDP. Empty: nowhere. Port 0: any free one.
    pub udp: Option<SocketAddr>,
    /// Networks from which messages may be published by datagram, with commas between. Sources of datagrams are easily
    /// forged: name only networks where nobody would.
    pub udp_publish_from: Networks,
    /// The operator's HTTP. Port 0: any free one.
    pub admin: SocketAddr,
    /// Shards, one thread each. 0: one per core.
    pub shards: usize,
    /// Door threads. 0: one for every four cores.
    pub doors: usize,
    /// Seconds an orderly shutdown may take.
    pub drain_s: u64,
    /// The bounds.
    pub limits: Limits,
    /// How the shards write.
    pub flush: Flush,
    /// Who sessions are.
    pub identity: IdentitySettings,
    /// What is only for tests and drills.
    pub diagnostics: Diagnostics,
    #[serde(rename = "topic")]
    /// `[[topic]]`: what subscribers of a topic may expect, by its name; the first rule that matches applies.
    pub topics: Vec<Rule>,
}

/// `[flush]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flush {
    /// Microseconds a shard waits for more when messages keep coming, so as to pay them in one write. 0: never.
    /// Larger costs latency under load and saves CPU; a message that comes alone never waits.
    pub linger_us: u64,
    /// How bytes get to the sockets: `epoll`, one system call a send; `uring`, many in one (Linux 6.1 or later,
    /// where it is not forbidden); `auto`, the second where it works.
    pub io: Io,
}

/// How bytes get to the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring where it works.
    #[default]
    Auto,
    /// One system call a send.
    Epoll,
    /// io_uring; said in the log where it does not work, and done without.
    Uring,
}

/// `[diagnostics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Diagnostics {
    /// Serve `/echo`: each message comes back.
    pub echo: bool,
    /// Take the operation `{"op":"panic"}`, which panics in that connection's code: a drill for the guard.
    pub panic: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            tcp: None,
            udp: None,
            udp_publish_from: Networks::default(),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 7480)),
            shards: 0,
            doors: 0,
            drain_s: 10,
            limits: Limits::default(),
            flush: Flush::default(),
            identity: IdentitySettings::default(),
            diagnostics: Diagnostics::default(),
            topics: Vec::new(),
        }
    }
}

impl Default for Flush {
    fn default() -> Self {
        Self { linger_us: 2_000, io: Io::Auto }
    }
}

impl Settings {
    /// Shards that will run.
    pub fn shard_count(&self) -> usize {
        if self.shards == 0 { cores() } else { self.shards }
    }

    /// Door threads that will run.
    pub fn door_count(&self) -> usize {
        if self.doors == 0 { cores().div_ceil(4) } else { self.doors }
    }

    /// Connections that may be open, given how many descriptors the process may have.
    pub fn connections_max(&self, descriptors: u64) -> usize {
        let allowed =
            usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX).max(1);
        if self.limits.connections == 0 { allowed } else { self.limits.connections.min(allowed) }
    }

    /// Checks what no single setting can tell.
    ///
    /// # Errors
    /// The setting at fault, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let at_least_one = [
            ("limits.topics", limits.topics),
            ("limits.topics_per_connection", limits.topics_per_connection),
            ("limits.message_bytes", limits.message_bytes),
            ("limits.operation_bytes", limits.operation_bytes),
            ("limits.operations_per_s", limits.operations_per_s as usize),
            ("limits.operations_burst", limits.operations_burst as usize),
            ("limits.sequencer_frames", limits.sequencer_frames),
            ("limits.sequencer_bytes", limits.sequencer_bytes),
            ("limits.inbox_frames", limits.inbox_frames),
            ("limits.inbox_bytes", limits.inbox_bytes),
            ("limits.queue_frames", limits.queue_frames),
            ("limits.queue_bytes", limits.queue_bytes),
            ("limits.queues_bytes_per_shard", limits.queues_bytes_per_shard),
            ("limits.handshake_s", limits.handshake_s as usize),
            ("limits.queue_stall_s", limits.queue_stall_s as usize),
            ("limits.ping_s", limits.ping_s as usize),
            ("limits.read_s", limits.read_s as usize),
            ("limits.lease_s", limits.lease_s as usize),
            ("limits.datagram_bytes", limits.datagram_bytes),
        ];
        if let Some((name, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Contradiction(format!("{name} must be at least 1")));
        }
        if limits.ping_s >= limits.idle_s {
            return Err(ConfigError::Contradiction("limits.ping_s must be below limits.idle_s".into()));
        }
        if limits.datagram_bytes > FRAME_COPIED_BYTES_MAX {
            let message = format!("limits.datagram_bytes is at most {FRAME_COPIED_BYTES_MAX}");
            return Err(ConfigError::Contradiction(message));
        }
        if self.shard_count() > usize::from(u16::MAX) {
            return Err(ConfigError::Contradiction("shards must be at most 65535".into()));
        }
        if limits.sequencer_frames.max(limits.inbox_frames) > ITEMS_MAX {
            let message = format!("limits.sequencer_frames and limits.inbox_frames are at most {ITEMS_MAX}");
            return Err(ConfigError::Contradiction(message));
        }
        if limits.history_bytes > limits.histories_bytes {
            let message =
                "limits.history_bytes (of one topic) must be at most limits.histories_bytes (of all)";
            return Err(ConfigError::Contradiction(message.into()));
        }
        rules::validate(&self.topics, limits)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
