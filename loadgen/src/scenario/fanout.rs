//! `fanout`: one topic, many subscribers, one publisher at a fixed rate.
//!
//! Contract: connect, warm-up, measure, drain, in this order; nothing is published before every subscriber stands. Rates and costs
//! are of the measure phase, the counts of the verification are of the whole run.
//!
//! With an exact count there is no warm-up, and the measure phase lasts until the last delivery.

use std::io;
use std::net::SocketAddr;

use serde::Serialize;

use crate::clock::Clock;
use crate::cost;
use crate::curve::curve_ms;
use crate::fleet::{Fleet, FleetError, Muster};
use crate::handshake::{self, OpenError};
use crate::limits::{PUBLISH_LEAD, READING_EARLY_NS_MAX, SETTLE};
use crate::measure::{Window, seconds_between};
use crate::pace::Grid;
use crate::progress::Progress;
use crate::publisher::{Order, PublishError, Published, Publisher};
use crate::receiver::Pace;
use crate::recorder::Recorder;
use crate::report::{Latency, Report, ServerCost};
use crate::scenario::stage::Stage;
use crate::slow_figures::SlowFigures;
use crate::subscriber::Harvest;
use crate::target::Target;
use crate::timeline::Timeline;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fanout {
    pub(crate) topic: String,
    pub(crate) connections: usize,
    pub(crate) rate_per_s: f64,
    pub(crate) payload_bytes: usize,
    pub(crate) amount: Amount,
    pub(crate) threads: usize,
    /// Subscribers beside `connections` that cannot keep up.
    pub(crate) slow: Slowness,
}

/// How many subscribers read too slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Slowness {
    /// Never read.
    pub(crate) stalled: usize,
    /// Read a little now and then.
    pub(crate) trickling: usize,
}

impl Slowness {
    fn count(self) -> usize {
        self.stalled + self.trickling
    }
}

/// When to end.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Amount {
    /// After so many seconds.
    Timed { warmup_s: f64, measured_s: f64 },
    /// After so many messages.
    Messages(u64),
}

/// Why a run came to no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RunError {
    #[error("cannot find {host}: {source}")]
    Resolve { host: String, source: io::Error },
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("cannot connect the publisher: {0}")]
    Publisher(#[source] OpenError),
    #[error("cannot start the publisher: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Fanout {
    /// Messages on the whole grid, warm-up included.
    pub(crate) fn messages(&self) -> u64 {
        match self.amount {
            // A float that is too large becomes the largest integer, which the command line refuses.
            Amount::Timed { warmup_s, measured_s } => {
                ((warmup_s + measured_s) * self.rate_per_s).round().max(1.0) as u64
            }
            Amount::Messages(messages) => messages,
        }
    }

    /// The first sequence whose latency counts.
    pub(crate) fn measured_from(&self) -> u32 {
        match self.amount {
            // The command line sees to it that all sequences fit.
            Amount::Timed { warmup_s, .. } => (warmup_s * self.rate_per_s).round() as u32,
            Amount::Messages(_) => 0,
        }
    }

    /// Of the messages that are not warm-up. Each takes one step of the grid, so the last one's step counts too.
    fn rate_achieved(&self, published: &Published) -> f64 {
        let measured = published.count.saturating_sub(u64::from(self.measured_from()));
        let sending_s = seconds_between(published.measured_from_ns, published.end_ns);
        measured as f64 / (sending_s + 1.0 / self.rate_per_s)
    }

    /// Runs it against `target`, whose process is `pid` where it can be watched.
    pub(crate) async fn run(
        &self,
        target: &Target,
        pid: Option<u32>,
        clock: Clock,
        progress: Progress,
    ) -> Result<Report, RunError> {
        let server = resolve(target).await?;
        let mut cost = ServerCost { pid: pid.unwrap_or_default(), ..ServerCost::default() };
        let recorder = Recorder::start(clock, pid);
        recorder.phase("connect").await;
        let (fleet, connect_s) = self.connect(target, server, clock, progress, pid, &mut cost).await?;
        recorder.follow(fleet.tallies()).await;
        let slow = self.connect_slow(target, server, clock, progress).await?;
        let url = target.publish_url(&self.topic);
        let opened = handshake::open(server, &url, None).await.map_err(RunError::Publisher)?;
        let start_ns = clock.now_ns() + PUBLISH_LEAD.as_nanos() as u64;
        let grid = Grid::new(start_ns, self.rate_per_s);
        let measured_from = u64::from(self.measured_from());
        let order = Order { grid, count: self.messages(), measured_from, size: self.payload_bytes };
        let publisher = Publisher::start(opened, order, clock).map_err(RunError::Thread)?;
        let mut stage = Stage { fleet, publisher, published: None, clock, pid, progress, recorder };
        let window = self.play(&mut stage, start_ns).await?;
        cost.resident_bytes_end = pid.and_then(cost::resident_bytes);
        let published = stage.published.unwrap_or_default();
        let timeline = stage.recorder.finish().await;
        let harvest = stage.fleet.finish(published.count).await?;
        let slow = match slow {
            Some(fleet) => {
                let from_ns = clock.now_ns();
                let phase = progress.phase("read out", self.slow.count() as u64);
                let harvest = fleet.finish(published.count).await?;
                phase.done(seconds_between(from_ns, clock.now_ns()), self.slow.count() as u64, "slow ones");
                Some(SlowFigures::of(self.slow, harvest))
            }
            None => None,
        };
        drop(stage.publisher);
        cost.cpu_us_per_delivery = window.server_us_per_delivery();
        cost.cores = window.server_cores();
        let mut report = self.report(target, &window, &published, harvest);
        report.connect_s = connect_s;
        report.server = pid.map(|_| cost);
        report.slow = slow;
        report.timeline = timeline;
        Ok(report.judge())
    }

    /// Opens all subscribers, and reads what they cost the server; gives the seconds it took, too.
    async fn connect(
        &self,
        target: &Target,
        server: SocketAddr,
        clock: Clock,
        progress: Progress,
        pid: Option<u32>,
        cost: &mut ServerCost,
    ) -> Result<(Fleet, f64), RunError> {
        cost.resident_bytes_before = pid.and_then(cost::resident_bytes);
        let cpu_before_ns = pid.and_then(cost::process_cpu_ns);
        let from_ns = clock.now_ns();
        let connections = self.connections as u64;
        let phase = progress.phase("connect", connections);
        let muster = Muster {
            connections: self.connections,
            threads: self.threads,
            server,
            url: target.subscribe_url(&self.topic),
            measured_from: self.measured_from(),
            pace: Pace::Prompt,
            others: 0,
        };
        let fleet = Fleet::open(&muster, clock, &phase).await?;
        let connect_s = seconds_between(from_ns, clock.now_ns());
        phase.done(connect_s, connections, "connections");
        if let Some(pid) = pid {
            let cpu_ns = cost::process_cpu_ns(pid).zip(cpu_before_ns);
            let per_connection = |total: f64| total / self.connections as f64;
            cost.cpu_us_per_connect =
                cpu_ns.map(|(after, before)| per_connection((after as f64 - before as f64) / 1e3));
            tokio::time::sleep(SETTLE).await;
            cost.resident_bytes_idle = cost::resident_bytes(pid);
            let grown = cost.resident_bytes_idle.zip(cost.resident_bytes_before);
            cost.bytes_per_idle_connection =
                grown.map(|(idle, before)| per_connection(idle as f64 - before as f64));
        }
        Ok((fleet, connect_s))
    }

    /// Opens the slow subscribers, where there are any.
    async fn connect_slow(
        &self,
        target: &Target,
        server: SocketAddr,
        clock: Clock,
        progress: Progress,
    ) -> Result<Option<Fleet>, RunError> {
        let count = self.slow.count();
        if count == 0 {
            return Ok(None);
        }
        let from_ns = clock.now_ns();
        let phase = progress.phase("connect", count as u64);
        let muster = Muster {
            connections: count,
            threads: 1,
            server,
            url: target.subscribe_url(&self.topic),
            // Their latencies are their own doing.
            measured_from: u32::MAX,
            pace: Pace::Slow { stalled: self.slow.stalled },
            others: self.connections,
        };
        let fleet = Fleet::open(&muster, clock, &phase).await?;
        phase.done(seconds_between(from_ns, clock.now_ns()), count as u64, "slow connections");
        Ok(Some(fleet))
    }

    /// From the first message to the last delivery; gives the measured part of it.
    async fn play(&self, stage: &mut Stage, start_ns: u64) -> Result<Window, RunError> {
        let total = self.messages();
        match self.amount {
            Amount::Timed { warmup_s, measured_s } => {
                // Between two messages, so that at a low rate each falls clearly on one side.
                let early_ns = ((0.5e9 / self.rate_per_s) as u64).min(READING_EARLY_NS_MAX);
                let measure_ns = start_ns - early_ns + (warmup_s * 1e9) as u64;
                let end_ns = measure_ns + (measured_s * 1e9) as u64;
                if warmup_s > 0.0 {
                    stage.publish_until(measure_ns, "warm-up", u64::from(self.measured_from())).await?;
                } else {
                    tokio::time::sleep(stage.clock.until(measure_ns)).await;
                }
                let from = stage.reading();
                stage.publish_until(end_ns, "measure", total).await?;
                let window = Window::new(from, stage.reading());
                stage.drain(end_ns, total * self.connections as u64).await?;
                Ok(window)
            }
            Amount::Messages(_) => {
                let mut from = stage.reading();
                from.at_ns = start_ns;
                let end_ns = start_ns + (total as f64 / self.rate_per_s * 1e9) as u64;
                stage.publish_until(end_ns, "measure", total).await?;
                stage.drain(end_ns, total * self.connections as u64).await?;
                let mut to = stage.reading();
                let published_ns = stage.published.map_or(0, |published| published.end_ns);
                to.at_ns = to.received.last_delivery_ns.max(published_ns);
                Ok(Window::new(from, to))
            }
        }
    }

    fn report(&self, target: &Target, window: &Window, published: &Published, harvest: Harvest) -> Report {
        let (receiver_ran_max, receiver_wanted_max) = window.busiest_receiver();
        let ms = |ns: u64| ns as f64 / 1e6;
        Report {
            scenario: "fanout",
            valid: true,
            invalid_reason: None,
            verified: true,
            url: target.to_string(),
            topic: self.topic.clone(),
            connections: self.connections as u64,
            receiver_threads: self.threads as u64,
            payload_bytes: self.payload_bytes as u64,
            intended_per_s: self.rate_per_s,
            connect_s: 0.0,
            warmup_s: match self.amount {
                Amount::Timed { warmup_s, .. } => warmup_s,
                Amount::Messages(_) => 0.0,
            },
            measured_s: window.seconds(),
            published: published.count,
            unsent: self.messages() - published.count,
            published_per_s: self.rate_achieved(published),
            deliveries: harvest.account.received,
            deliveries_per_s: window.deliveries() as f64 / window.seconds(),
            mb_per_s: window.bytes() as f64 / 1e6 / window.seconds(),
            latency_us: Latency::of(&harvest.latency),
            latency_curve_ms: curve_ms(&harvest.latency),
            gaps: harvest.account.gaps,
            duplicates: harvest.account.duplicates,
            reordered: harvest.account.reordered,
            missing: harvest.missing,
            unstamped: harvest.unstamped,
            closed: harvest.endings.values().sum(),
            closed_by_code: harvest.closed_by_code(),
            first_close_reason: harvest.first_reason,
            publish_lag_ms_max: ms(published.lag.max_ns()),
            publish_lag_own_ms_max: ms(published.lag.own_max_ns()),
            publish_blocked_ms: ms(published.blocked_ns),
            publisher_replies: published.replies,
            loadgen_cores: window.own_cores(),
            receiver_ran_max,
            receiver_wanted_max,
            timeline: Timeline::default(),
            server: None,
            against_floor: None,
            slow: None,
        }
    }
}

/// The first address of the name; a loopback name gives one that needs no resolver.
async fn resolve(target: &Target) -> Result<SocketAddr, RunError> {
    let failed = |source| RunError::Resolve { host: target.host.clone(), source };
    let mut found = tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(failed)?;
    found.next().ok_or_else(|| failed(io::Error::other("the name has no address")))
}
