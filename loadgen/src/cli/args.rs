//! The command line as it is typed: every flag, with the words of the help.
//!
//! Contract: nothing is judged here but what clap can judge; what the values mean is the parent's business.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::pin::Pin;

/// Open-loop load generator and verifier for fan-out servers.
///
/// `stentor-loadgen run FILE.toml [FLAGS]` takes the scenario and its flags from a file; loadgen/scenarios has one for each.
#[derive(Debug, Parser)]
#[command(name = "stentor-loadgen", version, subcommand_required = true, arg_required_else_help = false)]
pub(super) struct Typed {
    #[command(subcommand)]
    pub(super) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(super) enum Scenario {
    /// One topic, many subscribers: publishes at a fixed rate and verifies what everybody got.
    Fanout(FanoutArgs),
    /// The same against our own raw send loop: what the machine can do at best.
    Floor(FloorArgs),
    /// Many topics, several a connection, messages spread over them.
    Topics(TopicsArgs),
    /// Some subscribers stall or trickle: what that does to the healthy ones.
    Slow(SlowArgs),
    /// Some are served while many others are cut off and come back at once.
    Storm(StormArgs),
    /// Connections that subscribe and unsubscribe all the time, checked from ack to ack (Stentor only).
    Churn(ChurnArgs),
    /// A recorded or synthetic market feed at its own pace, to subscribers of all its topics.
    Feed(FeedArgs),
    /// For hours: subscribers that stay, with others that churn and stall; fails where memory or descriptors grow.
    Soak(SoakArgs),
    /// As many idle connections as the limits permit, then one message to all.
    Connections(ConnectionsArgs),
    /// The highest rate at which p99 stays within a bound and the run holds. It begins with --rate (200,000 deliveries a second);
    /// each step takes --secs (1) behind a --warmup (0.2), and longer where that is too few messages for a p99.
    Knee(KneeArgs),
    /// Compares two results made with --json: 1 when a figure of B is worse than A's beyond the noise.
    Compare(CompareArgs),
    /// The floor's server; started by the others.
    #[command(hide = true)]
    FloorServer(FloorServerArgs),
}

/// Whom to drive, and with what.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) peer: PeerArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
}

#[derive(Args, Debug)]
pub(super) struct FanoutArgs {
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(flatten)]
    pub(super) count: CountArgs,
    /// Run the floor first, with the same parameters, and report ratios to it.
    #[arg(long)]
    pub(super) against_floor: bool,
    #[command(flatten)]
    pub(super) choice: FloorChoice,
}

#[derive(Args, Debug)]
pub(super) struct FloorArgs {
    /// What it speaks, ws or udp [default: ws].
    #[arg(long, value_name = "WIRE")]
    pub(super) transport: Option<Transport>,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) count: CountArgs,
    #[command(flatten)]
    pub(super) choice: FloorChoice,
}

#[derive(Args, Debug)]
pub(super) struct TopicsArgs {
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(flatten)]
    pub(super) count: CountArgs,
    #[command(flatten)]
    pub(super) spread: SpreadArgs,
}

/// Which topics there are, and what goes to each.
#[derive(Args, Debug)]
pub(super) struct SpreadArgs {
    /// Topics in all; their names begin with --topic.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(super) topics: usize,
    /// Topics that each connection subscribes to.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) topics_per_conn: usize,
    /// A message goes to the topic of rank k in proportion to 1 / k^S.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub(super) zipf: f64,
    /// A message goes to each topic as often as to another.
    #[arg(long, conflicts_with = "zipf")]
    pub(super) uniform: bool,
    /// As fast as the server delivers: a --window that fills its queues.
    #[arg(long, conflicts_with_all = ["rate", "window"])]
    pub(super) saturate: bool,
}

#[derive(Args, Debug)]
pub(super) struct SlowArgs {
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(flatten)]
    pub(super) count: CountArgs,
    /// Percent of --conns that never read.
    #[arg(long, value_name = "PCT", default_value_t = 0.0)]
    pub(super) stalled: f64,
    /// Percent of --conns that read 1 KiB every 100 ms.
    #[arg(long, value_name = "PCT", default_value_t = 0.0)]
    pub(super) trickling: f64,
    /// Times that both runs are made, in turns; the medians are compared.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) rounds: usize,
}

#[derive(Args, Debug)]
pub(super) struct StormArgs {
    // --conns are those who are served; --secs are before the storm.
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// Clients that are cut off and come back; they get no messages. The storm is measured for 5 s.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(super) clients: usize,
    /// Another name for --conns: those who are served throughout.
    #[arg(long, value_name = "N", conflicts_with = "conns")]
    pub(super) served: Option<usize>,
    /// Handshakes of the clients under way at a time; above the server's listen queue they are repeated after a second.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) in_flight: usize,
}

#[derive(Args, Debug)]
pub(super) struct ChurnArgs {
    // --conns are the churning ones.
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// Subscribers beside --conns that stay.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) steady: usize,
    /// Subscriptions a second of each of --conns.
    #[arg(long, value_name = "R", default_value_t = 2.0)]
    pub(super) cycles: f64,
}

#[derive(Args, Debug)]
pub(super) struct FeedArgs {
    /// A recording, NDJSON as `stentor sub --json` writes it; without one the feed is synthetic, with --rate and --secs.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// How many times as fast as it was recorded.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) speed: f64,
    // Everything is measured: there is no warm-up.
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args, Debug)]
pub(super) struct SoakArgs {
    // --conns are those who stay.
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// Instead of --secs.
    #[arg(long, value_name = "H", conflicts_with = "secs")]
    pub(super) hours: Option<f64>,
    /// In each round: connections that subscribe and unsubscribe,
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) churners: usize,
    /// and connections that never read.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) stalled: usize,
}

#[derive(Args, Debug)]
pub(super) struct ConnectionsArgs {
    // Of the load only --conns, --size, --topic, --threads and --json have a meaning.
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// Seconds to hold the idle connections before the message.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub(super) hold: f64,
}

#[derive(Args, Debug)]
pub(super) struct KneeArgs {
    /// Search the knee of the floor.
    #[arg(long, conflicts_with_all = ["url", "spawn", "spawn_nats", "pid", "admin"])]
    pub(super) floor: bool,
    #[command(flatten)]
    pub(super) choice: FloorChoice,
    /// Search those of the server and of the floor in turns, and show both in one table.
    #[arg(long, conflicts_with = "floor")]
    pub(super) against_floor: bool,
    /// Likewise of the nats-server at PATH.
    #[arg(long, value_name = "PATH", conflicts_with = "floor")]
    pub(super) against_nats: Option<PathBuf>,
    /// The p99 up to which a rate counts as held, in milliseconds: one for all, or one for each of --conns.
    #[arg(long, value_name = "MS", default_values_t = [10.0], value_delimiter = ',')]
    pub(super) bound_ms: Vec<f64>,
    /// A p99 within the bound counts as held even when our own threads were short of a core.
    #[arg(long)]
    pub(super) busy_ok: bool,
    // The first rate is --rate [default: 200,000 deliveries a second]; --secs [default: 1] and --warmup [default: 0.2] are those
    // of each step.
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args, Debug)]
pub(super) struct CompareArgs {
    /// What it was before.
    #[arg(value_name = "A.json")]
    pub(super) a: PathBuf,
    /// What is judged.
    #[arg(value_name = "B.json")]
    pub(super) b: PathBuf,
    /// What differs by no more than this counts as equal.
    #[arg(long, value_name = "PCT", default_value_t = 10.0)]
    pub(super) noise: f64,
    /// Also where the scenario, its parameters or the machine differ, or the figures are not valid.
    #[arg(long)]
    pub(super) anyway: bool,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct FloorServerArgs {
    /// One buffer for everything that is pending.
    #[arg(long)]
    pub(super) coalesce: bool,
    /// Subscribers are sent datagrams.
    #[arg(long)]
    pub(super) udp: bool,
}

/// Whom to drive.
#[derive(Args, Debug)]
pub(super) struct PeerArgs {
    /// The server, ws://HOST:PORT (Stentor, or with the options below any other), tcp://HOST:PORT or udp://HOST:PORT (Stentor), or nats://HOST:PORT.
    #[arg(long, value_name = "URL", conflicts_with_all = ["spawn", "spawn_nats"])]
    pub(super) url: Option<String>,
    /// Run PATH serve on free ports of loopback, drive it, end it.
    #[arg(long, value_name = "PATH")]
    pub(super) spawn: Option<PathBuf>,
    /// Run PATH, a nats-server, on a free port of loopback, drive it, end it.
    #[arg(long, value_name = "PATH", conflicts_with = "spawn")]
    pub(super) spawn_nats: Option<PathBuf>,
    /// Also report what this process costs (Linux).
    #[arg(long, conflicts_with_all = ["spawn", "spawn_nats"])]
    pub(super) pid: Option<u32>,
    /// Stentor's operator port, http://HOST:PORT: its counters are compared with what arrived.
    #[arg(long, value_name = "URL", conflicts_with_all = ["spawn", "spawn_nats"])]
    pub(super) admin: Option<String>,
    /// What is spoken to the server of --spawn; a --url says so itself [default: ws].
    #[arg(long, value_name = "WIRE", conflicts_with_all = ["url", "spawn_nats"])]
    pub(super) transport: Option<Transport>,
    /// Publish over a WebSocket, or by POST to the operator port [default: as subscribers speak; where they are sent datagrams, a WebSocket to --spawn, else http].
    #[arg(long, value_name = "WAY")]
    pub(super) publish_via: Option<Way>,
    #[command(flatten)]
    pub(super) templates: TemplateArgs,
    /// For the spawned server.
    #[arg(last = true, value_name = "SERVER ARGS")]
    pub(super) server_args: Vec<OsString>,
}

/// What Stentor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    Ws,
    Tcp,
    Udp,
}

/// How messages are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    Ws,
    Http,
}

/// A WebSocket server that is not Stentor; {topic} and {payload} stand for what they say.
#[derive(Args, Debug)]
pub(super) struct TemplateArgs {
    /// Where subscribers connect [default: /].
    #[arg(long, value_name = "PATH")]
    pub(super) ws_path: Option<String>,
    /// What each subscriber says, once for each of its topics.
    #[arg(long, value_name = "TEXT")]
    pub(super) subscribe_text: Option<String>,
    /// What the answer to that contains; nothing is waited for without it.
    #[arg(long, value_name = "TEXT", requires = "subscribe_text")]
    pub(super) subscribed_text: Option<String>,
    /// Where the publisher connects [default: --ws-path].
    #[arg(long, value_name = "PATH")]
    pub(super) publish_path: Option<String>,
    /// What the publisher says for each message [default: {payload}].
    #[arg(long, value_name = "TEXT")]
    pub(super) publish_text: Option<String>,
}

/// How the floor runs.
#[derive(Args, Clone, Debug)]
pub(super) struct FloorChoice {
    /// The floor sends everything that is pending as one buffer.
    #[arg(long)]
    pub(super) coalesce: bool,
}

/// What to send, and to how many.
#[derive(Args, Clone, Debug)]
pub(super) struct LoadArgs {
    /// Subscribers; a list (100,1000) only where several runs are asked for.
    #[arg(long, value_name = "N", default_values_t = [1_000], value_delimiter = ',')]
    pub(super) conns: Vec<usize>,
    /// Messages a second [default: 100].
    #[arg(long, value_name = "R")]
    pub(super) rate: Option<f64>,
    /// Instead of --rate: so many messages under way, the next one when one has reached every subscriber.
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub(super) window: Option<u64>,
    /// Payload bytes.
    #[arg(long, value_name = "B", default_value_t = 128)]
    pub(super) size: usize,
    /// Seconds to measure [default: 10].
    #[arg(long, value_name = "S")]
    pub(super) secs: Option<f64>,
    /// Seconds before, verified but not in the latencies [default: 1].
    #[arg(long, value_name = "S")]
    pub(super) warmup: Option<f64>,
    /// The topic; nobody else may publish to it meanwhile.
    #[arg(long, value_name = "T", default_value = "loadgen")]
    pub(super) topic: String,
    /// Receiver threads.
    #[arg(long, value_name = "T", default_value_t = 1)]
    pub(super) threads: usize,
    /// Keep the servers that are started, and the generator, to these cores: 0,1 or 0-3,4+6 (Linux).
    #[arg(long, value_name = "SERVER,GENERATOR")]
    pub(super) pin: Option<Pin>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// How to show the result.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArgs {
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    pub(super) json: bool,
    /// Also write a page with charts, which needs nothing beside itself.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// An end by count.
#[derive(Args, Debug)]
pub(super) struct CountArgs {
    /// Publish exactly so many, without warm-up.
    #[arg(long, value_name = "M", conflicts_with_all = ["secs", "warmup"])]
    pub(super) messages: Option<u64>,
}
