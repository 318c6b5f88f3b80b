//! What was typed, and what is meant by it.
//!
//! Contract: [`parse`] gives a plan whose every value is usable, or one line that says which is not.

mod args;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Serialize;

use crate::compare::Compare;
use crate::cost::can_watch;
use crate::floor::Floor;
use crate::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};
use crate::scenario::fanout::{Amount, Fanout, Slowness};
use crate::scenario::knee::Knee;
use crate::scenario::slow::divide;
use crate::target::Target;
use args::{
    CompareArgs, FanoutArgs, FloorArgs, FloorChoice, KneeArgs, LoadArgs, OutputArgs, PeerArgs, Scenario,
    SlowArgs, Typed,
};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A scenario is to be run, and its result shown.
    Drive {
        work: Box<Work>,
        /// The server to drive.
        peer: Peer,
        output: Output,
    },
    /// Two results are to be compared.
    Compare {
        compare: Compare,
        /// JSON instead of the table.
        json: bool,
    },
    /// To be the floor for another process of ours.
    BeFloor { coalesce: bool },
}

/// How the result is shown.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// JSON instead of the table.
    pub(crate) json: bool,
    /// Where the page goes.
    pub(crate) html: Option<PathBuf>,
}

/// The scenario, but for the server's address where we start it.
#[derive(Debug, Serialize)]
#[serde(tag = "scenario", rename_all = "snake_case")]
pub(crate) enum Work {
    Fanout {
        #[serde(flatten)]
        fanout: Fanout,
        /// The floor to run before, and to compare with.
        against: Option<Floor>,
    },
    Floor(Fanout),
    Slow(Fanout),
    Knee(Knee),
}

/// Whom to drive.
#[derive(Debug)]
pub(crate) enum Peer {
    /// It runs already; its process, where it is to be watched.
    Running { target: Target, pid: Option<u32> },
    /// To be started with these arguments behind ours.
    Spawned { path: PathBuf, args: Vec<OsString> },
    /// Our own.
    Floor(Floor),
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
    let plan = match typed.scenario {
        Scenario::Fanout(args) => fanout(args),
        Scenario::Floor(args) => floor(args),
        Scenario::Slow(args) => slow(args),
        Scenario::Knee(args) => knee(args),
        Scenario::Compare(args) => compare(args),
        Scenario::FloorServer(args) => Ok(Plan::BeFloor { coalesce: args.coalesce }),
    };
    plan.map_err(NoPlan::Usage)
}

fn fanout(args: FanoutArgs) -> Result<Plan, String> {
    let shown = output(args.load.output.clone())?;
    let fanout = run(args.load, args.count.messages)?;
    let against = floor_if(args.against_floor, args.choice, "--against-floor")?;
    planned(Work::Fanout { fanout, against }, peer(args.peer)?, shown)
}

fn floor(args: FloorArgs) -> Result<Plan, String> {
    let shown = output(args.load.output.clone())?;
    let work = Work::Floor(run(args.load, args.count.messages)?);
    planned(work, Peer::Floor(chosen(args.choice)), shown)
}

fn slow(args: SlowArgs) -> Result<Plan, String> {
    let shown = output(args.load.output.clone())?;
    let percent = |name: &str, value: f64| {
        at_least(name, (0.0..100.0).contains(&value), "must be at least 0 and below 100")
    };
    percent("stalled", args.stalled)?;
    percent("trickling", args.trickling)?;
    if args.stalled + args.trickling == 0.0 {
        return Err("--stalled or --trickling is needed, or both".to_owned());
    }
    let (threads, mut fanout) = (args.load.threads, run(args.load, args.count.messages)?);
    let (healthy, slow) = divide(fanout.connections, args.stalled, args.trickling);
    if healthy < threads {
        return Err("--stalled and --trickling leave fewer healthy subscribers than --threads".to_owned());
    }
    (fanout.connections, fanout.slow) = (healthy, slow);
    planned(Work::Slow(fanout), peer(args.peer)?, shown)
}

fn knee(args: KneeArgs) -> Result<Plan, String> {
    let shown = output(args.load.output.clone())?;
    at_least("bound-ms", args.bound_ms.is_finite() && args.bound_ms > 0.0, "must be above 0")?;
    let first = run(args.load, None)?;
    let peer = match floor_if(args.floor, args.choice, "--floor")? {
        Some(_) if !args.peer.server_args.is_empty() => return Err(SERVER_ARGS.to_owned()),
        Some(floor) => Peer::Floor(floor),
        None => peer(args.peer)?,
    };
    planned(Work::Knee(Knee { first, bound_ms: args.bound_ms, busy_ok: args.busy_ok }), peer, shown)
}

fn compare(args: CompareArgs) -> Result<Plan, String> {
    at_least("noise", args.noise.is_finite() && args.noise >= 0.0, "must be 0 or more")?;
    let compare = Compare { a: args.a, b: args.b, noise_percent: args.noise, anyway: args.anyway };
    Ok(Plan::Compare { compare, json: args.json })
}

fn planned(work: Work, peer: Peer, output: Output) -> Result<Plan, String> {
    Ok(Plan::Drive { work: Box::new(work), peer, output })
}

/// A page that cannot be written is better known before the run than after it.
fn output(args: OutputArgs) -> Result<Output, String> {
    if let Some(path) = &args.html {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let ok = folder.is_none_or(Path::is_dir) && !path.is_dir();
        at_least("html", ok, "must name a file in a directory that exists")?;
    }
    Ok(Output { json: args.json, html: args.html })
}

const SERVER_ARGS: &str = "arguments after -- are for the server of --spawn";

fn at_least(name: &str, ok: bool, rule: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("--{name} {rule}")) }
}

fn run(args: LoadArgs, messages: Option<u64>) -> Result<Fanout, String> {
    at_least("conns", args.conns >= 1, "must be at least 1")?;
    at_least("rate", args.rate.is_finite() && args.rate > 0.0, "must be above 0")?;
    at_least("secs", args.secs.is_finite() && args.secs > 0.0, "must be above 0")?;
    at_least("warmup", args.warmup.is_finite() && args.warmup >= 0.0, "must be 0 or more")?;
    at_least("messages", messages != Some(0), "must be at least 1")?;
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
    let amount = match messages {
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
        slow: Slowness::default(),
    };
    if fanout.messages() > u64::from(u32::MAX) {
        return Err("more than 4,294,967,295 messages: lower --rate, --secs or --messages".to_owned());
    }
    Ok(fanout)
}

fn peer(args: PeerArgs) -> Result<Peer, String> {
    if let Some(pid) = args.pid {
        let rule = format!("{pid}: there is no such process, or it may not be watched");
        at_least("pid", can_watch(pid), &rule)?;
    }
    if args.spawn.is_none() && !args.server_args.is_empty() {
        return Err(SERVER_ARGS.to_owned());
    }
    match (args.spawn, args.url) {
        (Some(path), _) => Ok(Peer::Spawned { path, args: args.server_args }),
        (None, Some(url)) => {
            let target = Target::parse(&url).map_err(|error| error.to_string())?;
            Ok(Peer::Running { target, pid: args.pid })
        }
        (None, None) => Err("--url or --spawn is needed".to_owned()),
    }
}

/// The floor, where the flag `wanted` asks for one.
fn floor_if(wanted: bool, choice: FloorChoice, flag: &str) -> Result<Option<Floor>, String> {
    let floor = chosen(choice);
    match wanted {
        false if floor != Floor::default() => Err(format!("--coalesce and --floor-cpus need {flag}")),
        wanted => Ok(wanted.then_some(floor)),
    }
}

fn chosen(choice: FloorChoice) -> Floor {
    Floor { coalesce: choice.coalesce, cpus: choice.floor_cpus }
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

    fn drive(line: &str) -> (Work, Peer, bool) {
        match parse_line(line).unwrap() {
            Plan::Drive { work, peer, output } => (*work, peer, output.json),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn a_plan_has_what_was_typed() {
        let (work, _, json) =
            drive("x fanout --url ws://h:1 --conns 5 --rate 20 --secs 2 --warmup 0.5 --json");
        let Work::Fanout { fanout, against: None } = work else { panic!("{work:?}") };
        assert_eq!((fanout.connections, fanout.messages(), json), (5, 50, true));
        let (work, ..) = drive("x fanout --url ws://h:1 --messages 7 --against-floor --coalesce");
        let Work::Fanout { fanout, against: Some(floor) } = work else { panic!("{work:?}") };
        assert_eq!((fanout.messages(), fanout.measured_from()), (7, 0));
        assert_eq!(floor, Floor { coalesce: true, cpus: None });
        let (_, peer, _) = drive("x fanout --spawn ./stentor -- --shards 2");
        assert!(matches!(peer, Peer::Spawned { args, .. } if args == ["--shards", "2"]));
    }

    #[test]
    fn the_other_scenarios_have_theirs() {
        let (work, peer, _) = drive("x floor --messages 3 --floor-cpus 0");
        assert!(matches!(work, Work::Floor(fanout) if fanout.messages() == 3));
        assert!(matches!(peer, Peer::Floor(floor) if floor.cpus.as_deref() == Some("0") && !floor.coalesce));
        let (work, ..) = drive("x slow --url ws://h --conns 200 --stalled 1 --trickling 2");
        let Work::Slow(fanout) = work else { panic!("{work:?}") };
        assert_eq!((fanout.connections, fanout.slow), (194, Slowness { stalled: 2, trickling: 4 }));
        let (work, peer, _) = drive("x knee --floor --coalesce --bound-ms 5 --rate 50");
        let Work::Knee(knee) = work else { panic!("{work:?}") };
        assert_eq!((knee.bound_ms, knee.first.rate_per_s), (5.0, 50.0));
        assert!(matches!(peer, Peer::Floor(Floor { coalesce: true, .. })));
        assert!(matches!(parse_line("x floor-server --coalesce"), Ok(Plan::BeFloor { coalesce: true })));
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
            ("x fanout --url ws://h --coalesce", "--against-floor"),
            ("x floor --url ws://h", "--url"),
            ("x slow --url ws://h", "--stalled"),
            ("x slow --url ws://h --stalled 100", "--stalled"),
            ("x slow --url ws://h --conns 2 --stalled 50 --trickling 50", "healthy"),
            ("x knee", "--url"),
            ("x knee --floor --url ws://h", "--url"),
            ("x knee --url ws://h --floor-cpus 0", "--floor"),
            ("x knee --url ws://h --bound-ms 0", "--bound-ms"),
            ("x knee --url ws://h --messages 5", "--messages"),
        ] {
            let Err(NoPlan::Usage(said)) = parse_line(line) else { panic!("{line} was taken") };
            assert!(said.contains(word) && !said.contains('\n'), "{line}: {said}");
        }
        assert!(matches!(parse_line("x --help"), Err(NoPlan::Asked(_))));
    }
}
