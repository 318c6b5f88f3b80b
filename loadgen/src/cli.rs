//! What was typed, and what is meant by it.
//!
//! Contract: [`parse`] gives a plan whose every value is usable, or one line that says which is not.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cost::can_watch;
use crate::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};
use crate::scenario::fanout::{Amount, Fanout};
use crate::target::Target;

/// Open-loop load generator and verifier for fan-out servers.
#[derive(Debug, Parser)]
#[command(name = "stentor-loadgen", version, subcommand_required = true, arg_required_else_help = false)]
struct Typed {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One topic, many subscribers: publishes at a fixed rate and verifies what everybody got.
    Fanout(FanoutArgs),
}

#[derive(Args, Debug)]
struct FanoutArgs {
    /// The server: subscribers connect to URL/ws/TOPIC, the publisher to URL/publish/TOPIC.
    #[arg(long, value_name = "URL", required_unless_present = "spawn", conflicts_with = "spawn")]
    url: Option<String>,
    /// Run PATH serve on free ports of loopback, drive it, end it.
    #[arg(long, value_name = "PATH")]
    spawn: Option<PathBuf>,
    /// Also report what this process costs (Linux).
    #[arg(long, conflicts_with = "spawn")]
    pid: Option<u32>,
    /// Subscribers.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    conns: usize,
    /// Messages a second.
    #[arg(long, value_name = "R", default_value_t = 100.0)]
    rate: f64,
    /// Payload bytes.
    #[arg(long, value_name = "B", default_value_t = 128)]
    size: usize,
    /// Seconds to measure.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    secs: f64,
    /// Seconds before, verified but not in the latencies.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    warmup: f64,
    /// Publish exactly so many, without warm-up.
    #[arg(long, value_name = "M", conflicts_with_all = ["secs", "warmup"])]
    messages: Option<u64>,
    /// The topic; nobody else may publish to it meanwhile.
    #[arg(long, value_name = "T", default_value = "loadgen")]
    topic: String,
    /// Receiver threads.
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    json: bool,
    /// For the spawned server.
    #[arg(last = true, value_name = "SERVER ARGS")]
    server_args: Vec<OsString>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The scenario, but for the server's address where we start it.
    pub(crate) fanout: Fanout,
    /// The server to drive.
    pub(crate) peer: Peer,
    /// JSON instead of the table.
    pub(crate) json: bool,
}

/// Whom to drive.
#[derive(Debug)]
pub(crate) enum Peer {
    /// It runs already; its process, where it is to be watched.
    Running { target: Target, pid: Option<u32> },
    /// To be started with these arguments behind ours.
    Spawned { path: PathBuf, args: Vec<OsString> },
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum NoPlan {
    /// The help or the version was asked for.
    Asked(String),
    /// One line on what is wrong.
    Usage(String),
}

/// Takes the command line, program name first.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Plan, NoPlan> {
    let typed = Typed::try_parse_from(args).map_err(|error| {
        let text = error.render().to_string();
        if error.use_stderr() { NoPlan::Usage(one_line(&text)) } else { NoPlan::Asked(text) }
    })?;
    let Scenario::Fanout(args) = typed.scenario;
    meant(args).map_err(NoPlan::Usage)
}

fn meant(args: FanoutArgs) -> Result<Plan, String> {
    let at_least =
        |name: &str, ok: bool, rule: &str| if ok { Ok(()) } else { Err(format!("--{name} {rule}")) };
    at_least("conns", args.conns >= 1, "must be at least 1")?;
    at_least("rate", args.rate.is_finite() && args.rate > 0.0, "must be above 0")?;
    at_least("secs", args.secs.is_finite() && args.secs > 0.0, "must be above 0")?;
    at_least("warmup", args.warmup.is_finite() && args.warmup >= 0.0, "must be 0 or more")?;
    at_least("messages", args.messages != Some(0), "must be at least 1")?;
    at_least("threads", (1..=args.conns).contains(&args.threads), "must be between 1 and --conns")?;
    let size_rule = format!("must be between {PAYLOAD_BYTES_MIN} and {PAYLOAD_BYTES_MAX}");
    at_least("size", (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&args.size), &size_rule)?;
    let topic_ok = (1..=200).contains(&args.topic.len())
        && !args.topic.chars().any(|c| c.is_control() || c == ' ')
        && !args.topic.ends_with('*');
    at_least(
        "topic",
        topic_ok,
        "must be 1 to 200 bytes without spaces and control characters, and no pattern",
    )?;
    if let Some(pid) = args.pid {
        at_least(
            "pid",
            can_watch(pid),
            &format!("{pid}: there is no such process, or it may not be watched"),
        )?;
    }
    let amount = match args.messages {
        Some(messages) => Amount::Messages(messages),
        None => Amount::Timed { warmup_s: args.warmup, measured_s: args.secs },
    };
    let fanout = Fanout {
        topic: args.topic,
        connections: args.conns,
        rate_per_s: args.rate,
        payload_bytes: args.size,
        amount,
        threads: args.threads,
    };
    if fanout.messages() > u64::from(u32::MAX) {
        return Err("more than 4,294,967,295 messages: lower --rate, --secs or --messages".to_owned());
    }
    if args.spawn.is_none() && !args.server_args.is_empty() {
        return Err("arguments after -- are for the server of --spawn".to_owned());
    }
    let peer = match (args.spawn, args.url) {
        (Some(path), _) => Peer::Spawned { path, args: args.server_args },
        (None, Some(url)) => {
            Peer::Running { target: Target::parse(&url).map_err(|error| error.to_string())?, pid: args.pid }
        }
        (None, None) => return Err("--url or --spawn is needed".to_owned()),
    };
    Ok(Plan { fanout, peer, json: args.json })
}

/// Clap's message without the usage and the tips behind it.
fn one_line(text: &str) -> String {
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> = said.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    let line = said.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Plan, NoPlan> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_plan_has_what_was_typed() {
        let plan =
            parse_line("x fanout --url ws://h:1 --conns 5 --rate 20 --secs 2 --warmup 0.5 --json").unwrap();
        assert_eq!((plan.fanout.connections, plan.fanout.messages(), plan.json), (5, 50, true));
        let plan = parse_line("x fanout --url ws://h:1 --messages 7").unwrap();
        assert_eq!((plan.fanout.messages(), plan.fanout.measured_from()), (7, 0));
        let plan = parse_line("x fanout --spawn ./stentor -- --shards 2").unwrap();
        assert!(matches!(plan.peer, Peer::Spawned { args, .. } if args == ["--shards", "2"]));
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        for (line, word) in [
            ("x", "subcommand"),
            ("x fanout", "--url"),
            ("x fanuot", "fanuot"),
            ("x fanout --url ws://h --spawn p", "--spawn"),
            ("x fanout --url ws://h --messages 3 --warmup 2", "--warmup"),
            ("x fanout --url ws://h -- --shards 2", "--spawn"),
            ("x fanout --url wss://h", "wss"),
            ("x fanout --url ws://h --conns many", "many"),
            ("x fanout --url ws://h --conns 0", "--conns"),
            ("x fanout --url ws://h --rate 0", "--rate"),
            ("x fanout --url ws://h --rate NaN", "--rate"),
            ("x fanout --url ws://h --size 63", "--size"),
            ("x fanout --url ws://h --threads 0", "--threads"),
            ("x fanout --url ws://h --topic a*", "--topic"),
            ("x fanout --url ws://h --rate 1e9", "messages"),
            ("x fanout --url ws://h --frob", "--frob"),
        ] {
            let Err(NoPlan::Usage(said)) = parse_line(line) else { panic!("{line} was taken") };
            assert!(said.contains(word) && !said.contains('\n'), "{line}: {said}");
        }
        assert!(matches!(parse_line("x --help"), Err(NoPlan::Asked(_))));
    }
}
