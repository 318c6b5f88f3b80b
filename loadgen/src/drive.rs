//! Carries a plan out: finds or starts the server, runs the scenario against it, ends what was started.
//!
//! Contract: a server that we started is ended whatever happens, also on an interrupt. What comes of it is an [`Outcome`].

use std::io;

use serde::Serialize;

use crate::against_floor::AgainstFloor;
use crate::cli::{Peer, Work};
use crate::clock::Clock;
use crate::connections_report::ConnectionsReport;
use crate::contest_report::ContestReport;
use crate::header::Header;
use crate::knee_report::KneeReport;
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::contest::{Contest, Rival};
use crate::scenario::fanout::{Fanout, RunError};
use crate::scenario::slow;
use crate::server::SpawnError;
use crate::standing::Standing;
use crate::table;
use crate::target::Target;
use crate::target::address::AddressError;

/// The result, ready to be shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Run(Box<Report>),
    Knee(KneeReport),
    Contest(ContestReport),
    Connections(Box<ConnectionsReport>),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("the spawned server gave an address that cannot be used: {0}")]
    Address(#[from] AddressError),
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// Does the work.
pub(crate) async fn drive(work: &Work, peer: &Peer) -> Result<Outcome, Failure> {
    let clock = Clock::start();
    let progress = Progress::new();
    match work {
        Work::Fanout { fanout, against: None } => {
            let report =
                with(peer, async |target, pid| fanout.run(target, pid, clock, progress).await).await?;
            Ok(Outcome::Run(Box::new(report)))
        }
        Work::Fanout { fanout, against: Some(floor) } => {
            progress.part("the floor");
            let base = run_floor(fanout, &Peer::Floor(floor.clone()), clock, progress).await?;
            progress.part("the server");
            let mut report =
                with(peer, async |target, pid| fanout.run(target, pid, clock, progress).await).await?;
            report.against_floor = Some(AgainstFloor::new(&report, base, floor.coalesce));
            Ok(Outcome::Run(Box::new(report.judge())))
        }
        Work::Floor(fanout) => Ok(Outcome::Run(Box::new(run_floor(fanout, peer, clock, progress).await?))),
        Work::Topics(fanout) => {
            let mut report =
                with(peer, async |target, pid| fanout.run(target, pid, clock, progress).await).await?;
            report.scenario = "topics";
            Ok(Outcome::Run(Box::new(report)))
        }
        Work::Slow(fanout) => {
            let run = async |target: &Target, pid| slow::run(fanout, target, pid, clock, progress).await;
            Ok(Outcome::Run(Box::new(with(peer, run).await?)))
        }
        Work::Storm(storm) => {
            let run = async |target: &Target, pid| storm.run(target, pid, clock, progress).await;
            Ok(Outcome::Run(Box::new(with(peer, run).await?)))
        }
        Work::Churn(churn) => {
            let run = async |target: &Target, pid| churn.run(target, pid, clock, progress).await;
            Ok(Outcome::Run(Box::new(with(peer, run).await?)))
        }
        Work::Feed(fanout) => {
            let mut report =
                with(peer, async |target, pid| fanout.run(target, pid, clock, progress).await).await?;
            report.scenario = "feed";
            Ok(Outcome::Run(Box::new(report)))
        }
        Work::Soak(soak) => {
            let run = async |target: &Target, pid| soak.run(target, pid, clock, progress).await;
            Ok(Outcome::Run(Box::new(with(peer, run).await?)))
        }
        Work::Connections(connections) => {
            let run = async |target: &Target, pid| connections.run(target, pid, clock, progress).await;
            Ok(Outcome::Connections(Box::new(with(peer, run).await?)))
        }
        Work::Contest(rules) => Ok(Outcome::Contest(contest(rules, peer, clock, progress).await?)),
        Work::Knee(knee) => {
            let run = async |target: &Target, pid| knee.run(target, pid, clock, progress).await;
            Ok(Outcome::Knee(with(peer, run).await?))
        }
    }
}

async fn run_floor(
    fanout: &Fanout,
    peer: &Peer,
    clock: Clock,
    progress: Progress,
) -> Result<Report, Failure> {
    let mut report = with(peer, async |target, pid| fanout.run(target, pid, clock, progress).await).await?;
    report.scenario = "floor";
    Ok(report)
}

/// Runs `work` against a server that runs, or one that is started for it.
async fn with<T>(
    peer: &Peer,
    work: impl AsyncFnOnce(&Target, Option<u32>) -> Result<T, RunError>,
) -> Result<T, Failure> {
    let standing = unless_interrupted(Standing::of(peer)).await?;
    let run = async { Ok(work(&standing.target, standing.pid).await?) };
    let done = unless_interrupted(run).await;
    standing.end().await;
    done
}

/// Runs `contest` against all of them, which stand at the same time.
async fn contest(
    contest: &Contest,
    peer: &Peer,
    clock: Clock,
    progress: Progress,
) -> Result<ContestReport, Failure> {
    let mut standing = Vec::new();
    let all = async {
        let own = if let Peer::Floor(_) = peer { "floor" } else { "server" };
        let others = contest.others.iter().map(|(name, peer)| (*name, peer));
        for (name, peer) in [(own, peer)].into_iter().chain(others) {
            standing.push((name, Standing::of(peer).await?));
        }
        let rivals = standing.iter().map(|(name, at)| Rival { name, target: &at.target, pid: at.pid });
        Ok(contest.run(&rivals.collect::<Vec<_>>(), clock, progress).await?)
    };
    let done = unless_interrupted(all).await;
    for (_, at) in standing {
        at.end().await;
    }
    done
}

async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        signal = interrupted() => Err(Failure::Interrupted(signal?)),
    }
}

/// Waits for a signal that asks us to end.
#[cfg(unix)]
pub(crate) async fn interrupted() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| "Ctrl-C"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

/// Waits for a signal that asks us to end.
#[cfg(not(unix))]
pub(crate) async fn interrupted() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
}

impl Outcome {
    /// One object on one line.
    pub(crate) fn json(&self, header: &Header) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            header: &'a Header<'a>,
            #[serde(flatten)]
            outcome: &'a Outcome,
        }
        // Only numbers, texts and maps with text keys: it cannot fail.
        serde_json::to_string(&Document { header, outcome: self }).unwrap_or_default()
    }

    /// As people read it.
    pub(crate) fn table(&self) -> String {
        match self {
            Self::Run(report) => table::render(report),
            Self::Knee(report) => report.render(),
            Self::Contest(report) => report.render(),
            Self::Connections(report) => report.render(),
        }
    }

    /// Why the figures are not to be used, where they are not.
    pub(crate) fn invalid_reason(&self) -> Option<&str> {
        match self {
            Self::Run(report) => report.invalid_reason.as_deref(),
            Self::Knee(report) => report.invalid_reason(),
            // Each cell of the table says so itself; connections measure no speed.
            Self::Contest(_) | Self::Connections(_) => None,
        }
    }

    /// What did not hold.
    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            Self::Run(report) => report.failure(),
            Self::Knee(report) => report.failure(),
            Self::Contest(report) => report.failure(),
            Self::Connections(report) => report.failure(),
        }
    }
}
