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
use crate::pin::Pin;
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::Subject;
use crate::scenario::contest::Contest;
use crate::scenario::fanout::{Fanout, RunError};
use crate::server::SpawnError;
use crate::standing::Standing;
use crate::table;
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
pub(crate) async fn drive(work: &Work, peer: &Peer, pin: Option<&Pin>) -> Result<Outcome, Failure> {
    if let Some(pin) = pin {
        pin.confine()?;
    }
    let at = Course { pin, clock: Clock::start(), progress: Progress::new() };
    let report = match work {
        Work::Fanout { fanout, against: None } => at.with(peer, async |on| fanout.run(on).await).await?,
        Work::Fanout { fanout, against: Some(floor) } => {
            at.progress.part("the floor");
            let base = at.floor(fanout, &Peer::Floor(*floor)).await?;
            at.progress.part("the server");
            let mut report = at.with(peer, async |on| fanout.run(on).await).await?;
            report.against_floor = Some(AgainstFloor::new(&report, base, floor.coalesce));
            report.judge()
        }
        Work::Floor(fanout) => at.floor(fanout, peer).await?,
        Work::Topics(fanout) => {
            let report = at.with(peer, async |on| fanout.run(on).await).await?;
            Report { scenario: "topics", ..report }
        }
        Work::Feed(fanout) => {
            let report = at.with(peer, async |on| fanout.run(on).await).await?;
            Report { scenario: "feed", ..report }
        }
        Work::Slow(slow) => at.with(peer, async |on| slow.run(on).await).await?,
        Work::Storm(storm) => at.with(peer, async |on| storm.run(on).await).await?,
        Work::Churn(churn) => at.with(peer, async |on| churn.run(on).await).await?,
        Work::Soak(soak) => at.with(peer, async |on| soak.run(on).await).await?,
        Work::Connections(connections) => {
            let report = at.with(peer, async |on| connections.run(on).await).await?;
            return Ok(Outcome::Connections(Box::new(report)));
        }
        Work::Knee(knee) => return Ok(Outcome::Knee(at.with(peer, async |on| knee.run(on).await).await?)),
        Work::Contest(rules) => return Ok(Outcome::Contest(at.contest(rules, peer).await?)),
    };
    Ok(Outcome::Run(Box::new(report)))
}

/// What all runs of a plan have in common.
#[derive(Clone, Copy, Debug)]
struct Course<'a> {
    pin: Option<&'a Pin>,
    clock: Clock,
    progress: Progress,
}

impl Course<'_> {
    fn subject(self, at: &Standing) -> Subject<'_> {
        Subject { target: &at.target, pid: at.pid, clock: self.clock, progress: self.progress }
    }

    async fn floor(self, fanout: &Fanout, peer: &Peer) -> Result<Report, Failure> {
        let report = self.with(peer, async |on| fanout.run(on).await).await?;
        Ok(Report { scenario: "floor", ..report })
    }

    /// Runs `work` against a server that runs, or one that is started for it.
    async fn with<T>(
        self,
        peer: &Peer,
        work: impl AsyncFnOnce(Subject<'_>) -> Result<T, RunError>,
    ) -> Result<T, Failure> {
        let standing = unless_interrupted(Standing::of(peer, self.pin)).await?;
        let run = async { Ok(work(self.subject(&standing)).await?) };
        let done = unless_interrupted(run).await;
        standing.end().await;
        done
    }

    /// Runs `contest` against all of them, which stand at the same time.
    async fn contest(self, contest: &Contest, peer: &Peer) -> Result<ContestReport, Failure> {
        let mut standing = Vec::new();
        let all = async {
            let own = if let Peer::Floor(_) = peer { "floor" } else { "server" };
            let others = contest.others.iter().map(|(name, peer)| (*name, peer));
            for (name, peer) in [(own, peer)].into_iter().chain(others) {
                standing.push((name, Standing::of(peer, self.pin).await?));
            }
            let rivals = standing.iter().map(|(name, at)| (*name, self.subject(at)));
            Ok(contest.run(&rivals.collect::<Vec<_>>()).await)
        };
        let done = unless_interrupted(all).await;
        for (_, at) in standing {
            at.end().await;
        }
        done
    }
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
