//! The command line as it is typed: every flag, with the words of the help.
//!
//! Contract: nothing is judged here but what clap can judge; what the values mean is the parent's business.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Open-loop load generator and verifier for fan-out servers.
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
    /// Some subscribers stall or trickle: what that does to the healthy ones.
    Slow(SlowArgs),
    /// Raises --rate until p99 passes a bound or the run fails; prints the highest rate held. Each step takes --secs.
    Knee(KneeArgs),
    /// Compares two results made with --json: 1 when a figure of B is worse than A's beyond the noise.
    Compare(CompareArgs),
    /// The floor's server; started by the others.
    #[command(hide = true)]
    FloorServer(FloorServerArgs),
}

#[derive(Args, Debug)]
pub(super) struct FanoutArgs {
    #[command(flatten)]
    pub(super) peer: PeerArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
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
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) count: CountArgs,
    #[command(flatten)]
    pub(super) choice: FloorChoice,
}

#[derive(Args, Debug)]
pub(super) struct SlowArgs {
    #[command(flatten)]
    pub(super) peer: PeerArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) count: CountArgs,
    /// Percent of --conns that never read.
    #[arg(long, value_name = "PCT", default_value_t = 0.0)]
    pub(super) stalled: f64,
    /// Percent of --conns that read 1 KiB every 100 ms.
    #[arg(long, value_name = "PCT", default_value_t = 0.0)]
    pub(super) trickling: f64,
}

#[derive(Args, Debug)]
pub(super) struct KneeArgs {
    #[command(flatten)]
    pub(super) peer: PeerArgs,
    /// Search the knee of the floor.
    #[arg(long, conflicts_with_all = ["url", "spawn", "pid"])]
    pub(super) floor: bool,
    #[command(flatten)]
    pub(super) choice: FloorChoice,
    /// The p99 up to which a rate counts as held, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10.0)]
    pub(super) bound_ms: f64,
    /// A p99 within the bound counts as held even when our own receivers were busy all the time.
    #[arg(long)]
    pub(super) busy_ok: bool,
    // The first rate is --rate; --secs and --warmup are those of each step.
    #[command(flatten)]
    pub(super) load: LoadArgs,
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
}

/// Whom to drive.
#[derive(Args, Debug)]
pub(super) struct PeerArgs {
    /// The server: subscribers connect to URL/ws/TOPIC, the publisher to URL/publish/TOPIC.
    #[arg(long, value_name = "URL", conflicts_with = "spawn")]
    pub(super) url: Option<String>,
    /// Run PATH serve on free ports of loopback, drive it, end it.
    #[arg(long, value_name = "PATH")]
    pub(super) spawn: Option<PathBuf>,
    /// Also report what this process costs (Linux).
    #[arg(long, conflicts_with = "spawn")]
    pub(super) pid: Option<u32>,
    /// For the spawned server.
    #[arg(last = true, value_name = "SERVER ARGS")]
    pub(super) server_args: Vec<OsString>,
}

/// How the floor runs.
#[derive(Args, Debug)]
pub(super) struct FloorChoice {
    /// The floor sends everything that is pending as one buffer.
    #[arg(long)]
    pub(super) coalesce: bool,
    /// The cores the floor may use, as taskset -c takes them.
    #[arg(long, value_name = "LIST")]
    pub(super) floor_cpus: Option<String>,
}

/// What to send, and to how many.
#[derive(Args, Debug)]
pub(super) struct LoadArgs {
    /// Subscribers.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(super) conns: usize,
    /// Messages a second.
    #[arg(long, value_name = "R", default_value_t = 100.0)]
    pub(super) rate: f64,
    /// Payload bytes.
    #[arg(long, value_name = "B", default_value_t = 128)]
    pub(super) size: usize,
    /// Seconds to measure.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub(super) secs: f64,
    /// Seconds before, verified but not in the latencies.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub(super) warmup: f64,
    /// The topic; nobody else may publish to it meanwhile.
    #[arg(long, value_name = "T", default_value = "loadgen")]
    pub(super) topic: String,
    /// Receiver threads.
    #[arg(long, value_name = "T", default_value_t = 1)]
    pub(super) threads: usize,
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
