//! What was typed, and what is meant by it.
//!
//! Contract: [`parse`] gives a plan whose every value is usable, or one line that says which is not.

mod args;
mod file;
mod load;
mod more;
mod peer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Serialize;

use crate::compare::Compare;
use crate::floor::Floor;
use crate::limits::{KNEE_FIRST_DELIVERIES_PER_S, KNEE_STEP_S, KNEE_WARMUP_S};
use crate::pin::Pin;
use crate::scenario::churn::Churn;
use crate::scenario::connections::Connections;
use crate::scenario::contest::Contest;
use crate::scenario::fanout::{Fanout, Tempo};
use crate::scenario::knee::Knee;
use crate::scenario::slow::{Slow, divide};
use crate::scenario::soak::Soak;
use crate::scenario::storm::Storm;
pub(crate) use args::Way;
use args::{
    CompareArgs, FanoutArgs, FloorArgs, KneeArgs, LoadArgs, Scenario, SlowArgs, TopicsArgs, Transport, Typed,
};
use load::load;
pub(crate) use peer::Peer;
use peer::{SERVER_ARGS, chosen, floor_if, no_connections, one_topic_only, peer};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A scenario is to be run, and its result shown.
    Drive {
        work: Box<Work>,
        /// The server to drive.
        peer: Peer,
        setting: Setting,
    },
    /// Two results are to be compared.
    Compare {
        compare: Compare,
        /// JSON instead of the table.
        json: bool,
    },
    /// To be the floor for another process of ours.
    BeFloor(Floor),
}

/// How it is run and shown, whatever it is.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Which cores are whose, where the system is not to choose.
    pub(crate) pin: Option<Pin>,
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
    Topics(Fanout),
    Slow(Slow),
    Storm(Storm),
    Churn(Churn),
    Feed(Fanout),
    Soak(Soak),
    Connections(Connections),
    Knee(Knee),
    Contest(Contest),
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
    let args = file::expand(args.into_iter().collect()).map_err(NoPlan::Usage)?;
    let typed = Typed::try_parse_from(args).map_err(|error| {
        let text = error.render().to_string();
        if error.use_stderr() { NoPlan::Usage(one_line(&text)) } else { NoPlan::Asked(text) }
    })?;
    let plan = match typed.scenario {
        Scenario::Fanout(args) => fanout(args),
        Scenario::Floor(args) => floor(args),
        Scenario::Topics(args) => topics(args),
        Scenario::Slow(args) => slow(args),
        Scenario::Storm(args) => more::storm(args),
        Scenario::Churn(args) => more::churn(args),
        Scenario::Feed(args) => more::feed(args),
        Scenario::Soak(args) => more::soak(args),
        Scenario::Connections(args) => more::connections(args),
        Scenario::Knee(args) => knee(args),
        Scenario::Compare(args) => compare(args),
        Scenario::FloorServer(args) => {
            Ok(Plan::BeFloor(Floor { coalesce: args.coalesce, datagrams: args.udp }))
        }
    };
    plan.map_err(NoPlan::Usage)
}

fn fanout(args: FanoutArgs) -> Result<Plan, String> {
    let setting = setting(&args.run.load)?;
    let fanout = load(args.run.load, args.count.messages)?;
    let datagrams = args.run.peer.asks_for_datagrams();
    let against = floor_if(args.against_floor, args.choice, "--against-floor", datagrams)?;
    planned(Work::Fanout { fanout, against }, peer(args.run.peer)?, setting)
}

fn floor(args: FloorArgs) -> Result<Plan, String> {
    let setting = setting(&args.load)?;
    let work = Work::Floor(load(args.load, args.count.messages)?);
    let datagrams = match args.transport {
        Some(Transport::Tcp) => return Err("the floor speaks ws and udp".to_owned()),
        transport => transport == Some(Transport::Udp),
    };
    planned(work, Peer::Floor(chosen(args.choice, datagrams)?), setting)
}

fn topics(args: TopicsArgs) -> Result<Plan, String> {
    let (setting, peer) = (setting(&args.run.load)?, peer(args.run.peer)?);
    if let Some(reason) = one_topic_only(&peer) {
        return Err(reason.to_owned());
    }
    planned(Work::Topics(load::topics(args.spread, args.run.load, args.count.messages)?), peer, setting)
}

fn slow(args: SlowArgs) -> Result<Plan, String> {
    let setting = setting(&args.run.load)?;
    let percent = |name: &str, value: f64| {
        at_least(name, (0.0..100.0).contains(&value), "must be at least 0 and below 100")
    };
    percent("stalled", args.stalled)?;
    percent("trickling", args.trickling)?;
    at_least("rounds", args.rounds >= 1, "must be at least 1")?;
    if args.stalled + args.trickling == 0.0 {
        return Err("--stalled or --trickling is needed, or both".to_owned());
    }
    let (threads, mut fanout) = (args.run.load.threads, load(args.run.load, args.count.messages)?);
    let (healthy, slow) = divide(fanout.connections, args.stalled, args.trickling);
    if healthy < threads {
        return Err("--stalled and --trickling leave fewer healthy subscribers than --threads".to_owned());
    }
    (fanout.connections, fanout.slow) = (healthy, slow);
    let peer = peer(args.run.peer)?;
    if let Some(reason) = no_connections(&peer) {
        return Err(reason.to_owned());
    }
    planned(Work::Slow(Slow { fanout, rounds: args.rounds }), peer, setting)
}

fn knee(args: KneeArgs) -> Result<Plan, String> {
    let (setting, datagrams) = (setting(&args.run.load)?, args.run.peer.asks_for_datagrams());
    let floor_choice = chosen(args.choice.clone(), datagrams)?;
    let bound_ok = args.bound_ms.iter().all(|bound_ms| bound_ms.is_finite() && *bound_ms > 0.0);
    at_least("bound-ms", bound_ok, "must be above 0")?;
    let matching = args.bound_ms.len() == 1 || args.bound_ms.len() == args.run.load.conns.len();
    at_least("bound-ms", matching, "must be one for all, or one for each of --conns")?;
    let bounds = args.bound_ms.iter().cycle();
    let knees = args.run.load.conns.iter().zip(bounds).map(|(connections, bound_ms)| {
        let step = LoadArgs {
            conns: vec![*connections],
            rate: args.run.load.rate.or(Some(KNEE_FIRST_DELIVERIES_PER_S / (*connections).max(1) as f64)),
            secs: args.run.load.secs.or(Some(KNEE_STEP_S)),
            warmup: args.run.load.warmup.or(Some(KNEE_WARMUP_S)),
            ..args.run.load.clone()
        };
        let first = load(step, None)?;
        match first.tempo {
            Tempo::Rate(first_per_s) => {
                Ok(Knee { first, first_per_s, bound_ms: *bound_ms, busy_ok: args.busy_ok })
            }
            _ => Err("--window has no rate to be raised: use --rate for the first one".to_owned()),
        }
    });
    let mut knees = knees.collect::<Result<Vec<_>, String>>()?;
    let wanted = args.floor || args.against_floor;
    let peer = match floor_if(wanted, args.choice, "--floor or --against-floor", datagrams)? {
        Some(_) if args.floor && !args.run.peer.server_args.is_empty() => return Err(SERVER_ARGS.to_owned()),
        Some(floor) if args.floor => Peer::Floor(floor),
        _ => peer(args.run.peer)?,
    };
    let nats = args.against_nats.map(|path| ("nats", Peer::Nats { path, args: Vec::new() }));
    let floor = args.against_floor.then_some(("floor", Peer::Floor(floor_choice)));
    let others: Vec<_> = floor.into_iter().chain(nats).collect();
    match knees.pop() {
        Some(knee) if knees.is_empty() && others.is_empty() => planned(Work::Knee(knee), peer, setting),
        last => {
            knees.extend(last);
            planned(Work::Contest(Contest { knees, others }), peer, setting)
        }
    }
}

fn compare(args: CompareArgs) -> Result<Plan, String> {
    at_least("noise", args.noise.is_finite() && args.noise >= 0.0, "must be 0 or more")?;
    let compare = Compare { a: args.a, b: args.b, noise_percent: args.noise, anyway: args.anyway };
    Ok(Plan::Compare { compare, json: args.json })
}

fn planned(work: Work, peer: Peer, setting: Setting) -> Result<Plan, String> {
    match (&setting.pin, &peer) {
        (Some(_), Peer::Running { .. }) => {
            Err("--pin is for servers started here (--spawn): pin one that runs with taskset -p".to_owned())
        }
        _ => Ok(Plan::Drive { work: Box::new(work), peer, setting }),
    }
}

/// A page that cannot be written is better known before the run than after it.
fn setting(args: &LoadArgs) -> Result<Setting, String> {
    if let Some(path) = &args.output.html {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let ok = folder.is_none_or(Path::is_dir) && !path.is_dir();
        at_least("html", ok, "must name a file in a directory that exists")?;
    }
    Ok(Setting { pin: args.pin.clone(), json: args.output.json, html: args.output.html.clone() })
}

fn at_least(name: &str, ok: bool, rule: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("--{name} {rule}")) }
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
    use crate::scenario::fanout::Slowness;
    use crate::target::address::Scheme;
    use crate::topics::Choice;

    fn parse_line(line: &str) -> Result<Plan, NoPlan> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn drive(line: &str) -> (Work, Peer, bool) {
        match parse_line(line).unwrap() {
            Plan::Drive { work, peer, setting } => (*work, peer, setting.json),
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
        assert_eq!((fanout.messages(), fanout.warm_up_messages()), (7, 0));
        assert_eq!(floor, Floor { coalesce: true, datagrams: false });
        let (_, peer, _) = drive("x fanout --spawn ./stentor -- --shards 2");
        assert!(matches!(peer, Peer::Spawned { args, .. } if args == ["--shards", "2"]));
    }

    #[test]
    fn the_other_scenarios_have_theirs() {
        let (work, peer, _) = drive("x floor --messages 3");
        assert!(matches!(work, Work::Floor(fanout) if fanout.messages() == 3));
        assert!(matches!(peer, Peer::Floor(Floor { coalesce: false, datagrams: false })));
        let (work, ..) = drive("x slow --url ws://h --conns 200 --stalled 1 --trickling 2");
        let Work::Slow(Slow { fanout, rounds: 3 }) = work else { panic!("{work:?}") };
        assert_eq!((fanout.connections, fanout.slow), (194, Slowness { stalled: 2, trickling: 4 }));
        let (_, peer, _) = drive("x floor --transport udp");
        assert!(matches!(peer, Peer::Floor(Floor { datagrams: true, .. })));
        let (work, ..) = drive("x fanout --against-floor --url udp://h:1 --admin http://h:2");
        assert!(matches!(work, Work::Fanout { against: Some(Floor { datagrams: true, .. }), .. }));
        let (_, peer, _) = drive("x knee --floor --transport udp");
        assert!(matches!(peer, Peer::Floor(Floor { datagrams: true, .. })));
        let (work, peer, _) = drive("x knee --floor --coalesce --bound-ms 5 --rate 50");
        let Work::Knee(knee) = work else { panic!("{work:?}") };
        assert_eq!((knee.bound_ms, knee.first_per_s), (5.0, 50.0));
        assert!(matches!(peer, Peer::Floor(Floor { coalesce: true, .. })));
        let line =
            "x knee --spawn p --against-floor --coalesce --against-nats n --conns 10,20 --bound-ms 5,7";
        let (Work::Contest(contest), ..) = drive(line) else { panic!("{line}") };
        let bounds: Vec<_> =
            contest.knees.iter().map(|knee| (knee.first.connections, knee.bound_ms)).collect();
        assert_eq!(bounds, [(10, 5.0), (20, 7.0)]);
        let others = contest.others.as_slice();
        assert!(matches!(others, [("floor", Peer::Floor(_)), ("nats", Peer::Nats { .. })]), "{others:?}");
        let (work, ..) = drive("x topics --url ws://h --topics 20 --topics-per-conn 5 --uniform --saturate");
        let Work::Topics(fanout) = work else { panic!("{work:?}") };
        assert_eq!((fanout.topics.count, fanout.topics.per_connection), (20, 5));
        assert_eq!(fanout.topics.choice, Choice::Uniform);
        assert!(matches!(fanout.tempo, Tempo::Window(messages) if messages > 1_000));
        assert!(matches!(
            parse_line("x floor-server --coalesce"),
            Ok(Plan::BeFloor(Floor { coalesce: true, datagrams: false }))
        ));
    }

    #[test]
    fn peers_are_spoken_to_in_their_own_way() {
        let (_, peer, _) = drive("x fanout --url nats://h:1 --window 64");
        assert!(matches!(peer, Peer::Running { target, .. } if target.to_string() == "nats://h:1"));
        let (_, peer, _) = drive("x churn --spawn p --transport tcp --publish-via http");
        assert!(matches!(peer, Peer::Spawned { scheme: Scheme::Tcp, way: Some(Way::Http), .. }));
        drive("x soak --url tcp://h:1");
        let (_, peer, _) = drive("x topics --url udp://h:1 --admin http://h:2");
        assert!(matches!(peer, Peer::Running { target, .. } if target.publisher_address().port == 2));
        let (_, peer, _) = drive("x fanout --spawn-nats n -- -D");
        assert!(matches!(peer, Peer::Nats { args, .. } if args == ["-D"]));
        let (_, peer, _) = drive("x fanout --url ws://h --ws-path /app --subscribe-text S{topic}");
        let Peer::Running { target, .. } = peer else { panic!("{peer:?}") };
        assert_eq!(target.subscriber(&["t".into()], false).upgrade.unwrap(), "ws://h/app");
        assert_eq!(target.publisher(Some("t")).upgrade.unwrap(), "ws://h/app");
        let (_, peer, _) = drive("x fanout --url ws://h --publish-via http --admin http://h:2");
        assert!(matches!(peer, Peer::Running { target, .. } if target.publisher_address().port == 2));
    }

    /// Every shipped scenario file is a plan, and one key more would not be.
    #[test]
    fn shipped_files_are_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let peer = if path.ends_with("floor.toml") { "" } else { "--url ws://h:1" };
            let line = format!("x run {} {peer}", path.display());
            drive(&format!("{line} --threads 2 --json"));
            let copy = tempfile::NamedTempFile::new().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(copy.path(), format!("{text}frobs = 3\n")).unwrap();
            let line = format!("x run {} {peer}", copy.path().display());
            let Err(NoPlan::Usage(said)) = parse_line(&line) else { panic!("{line} was taken") };
            assert!(said.contains("--frobs"), "{said}");
            seen += 1;
        }
        assert!(seen >= 10, "only {seen} scenario files");
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
            ("x slow --url ws://h --stalled 1 --rounds 0", "--rounds"),
            ("x slow --url ws://h --conns 2 --stalled 50 --trickling 50", "healthy"),
            ("x knee", "--url"),
            ("x knee --floor --url ws://h", "--url"),
            ("x knee --url ws://h --coalesce", "--floor"),
            ("x fanout --url ws://h --pin 0,0", "taskset"),
            ("x fanout --spawn p --pin 0", "comma"),
            ("x knee --url ws://h --bound-ms 0", "--bound-ms"),
            ("x knee --url ws://h --messages 5", "--messages"),
            ("x knee --url ws://h --window 5", "--rate"),
            ("x knee --url ws://h --conns 1,2,3 --bound-ms 1,2", "--bound-ms"),
            ("x fanout --url ws://h --conns 1,2", "--conns"),
            ("x storm --url ws://h --served 0", "--conns"),
            ("x storm --url ws://h --in-flight 0", "--in-flight"),
            ("x storm --url ws://h --window 3", "--rate"),
            ("x churn --url nats://h", "Stentor"),
            ("x churn --url ws://h --cycles 40", "--cycles"),
            ("x churn --url ws://h --steady 0", "--steady"),
            ("x feed --url ws://h --speed 0", "--speed"),
            ("x feed --url ws://h --file /no/such/file", "/no/such/file"),
            ("x soak --url ws://h --hours 0", "--hours"),
            ("x soak --url ws://h --hours 1 --secs 3", "--hours"),
            ("x connections --url ws://h --hold=-1", "--hold"),
            ("x connections --url ws://h --window 3", "--window"),
            ("x run /no/such/file.toml", "/no/such/file.toml"),
            ("x fanout --url ws://h --window 5 --rate 3", "--rate"),
            ("x fanout --url ws://h --window 0", "--window"),
            ("x fanout --url ws://h --publish-via http", "--admin"),
            ("x fanout --url tcp://h:1 --publish-via ws", "--spawn"),
            ("x fanout --url tcp://h:1 --ws-path /", "ws://"),
            ("x fanout --url tcp://h:1 --transport tcp", "--transport"),
            ("x fanout --url tcp://h", "tcp://127"),
            ("x floor --transport tcp", "udp"),
            ("x floor --transport udp --coalesce", "--coalesce"),
            ("x fanout --url udp://h:1", "--admin"),
            ("x storm --spawn p --transport udp", "tcp"),
            ("x churn --spawn p --transport udp", "tcp"),
            ("x soak --url udp://h:1 --admin http://h:2", "tcp"),
            ("x slow --spawn p --transport udp --stalled 1", "tcp"),
            ("x fanout --spawn p --transport quic", "quic"),
            ("x fanout --url ws://h --admin ws://h", "operator"),
            ("x fanout --spawn-nats n --publish-via http", "Stentor"),
            ("x fanout --spawn p --ws-path /", "--url"),
            ("x fanout --url ws://h --ws-path app", "--ws-path"),
            ("x fanout --url ws://h --publish-text hello", "{payload}"),
            ("x fanout --url ws://h --subscribed-text OK", "--subscribe-text"),
            ("x topics --url ws://h --topics 5", "--topics-per-conn"),
            ("x topics --url ws://h --uniform --zipf 1", "--zipf"),
            ("x topics --url ws://h --size 1000000", "--size"),
            ("x topics --url ws://h --ws-path /", "--subscribe-text"),
        ] {
            let Err(NoPlan::Usage(said)) = parse_line(line) else { panic!("{line} was taken") };
            assert!(said.contains(word) && !said.contains('\n'), "{line}: {said}");
        }
        assert!(matches!(parse_line("x --help"), Err(NoPlan::Asked(_))));
    }
}
