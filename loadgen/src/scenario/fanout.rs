//! `fanout`: one topic or several, many subscribers, one publisher at a fixed rate or with a fixed window.
//!
//! Contract: connect, warm-up, measure, drain, in this order; nothing is published before every subscriber stands. Rates and costs
//! are of the measure phase, the counts of the verification are of the whole run.
//!
//! With an exact count there is no warm-up, and the measure phase lasts until the last delivery.

mod opening;
mod summary;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::try_join_all;
use serde::Serialize;

use crate::churner::Broken;
use crate::cost;
use crate::counters::{self, Arrived, NoCounters, ServerCounts};
use crate::feed::{Feed, Replay};
use crate::fleet::{self, Fleet, FleetError, Muster};
use crate::handshake::{self, Local, OpenError};
use crate::kernel::{self, KernelMemory};
use crate::limits::{PUBLISH_LEAD, READING_EARLY_NS_MAX};
use crate::measure::{Window, seconds_between};
use crate::pace::Grid;
use crate::publisher::{Order, PublishError, Publisher};
use crate::receiver::Pace;
use crate::recorder::Recorder;
use crate::report::{Report, ServerCost};
use crate::scenario::Subject;
use crate::scenario::stage::{Hurry, Stage};
use crate::schedule::{Schedule, Window as Outstanding};
use crate::slow_figures::SlowFigures;
use crate::supply::{Alike, Supply};
use crate::tally::Marks;
use crate::target::address::Address;
use crate::topics::{TopicPlan, Topics};

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fanout {
    #[serde(flatten)]
    pub(crate) topics: TopicPlan,
    pub(crate) connections: usize,
    #[serde(flatten)]
    pub(crate) tempo: Tempo,
    pub(crate) payload_bytes: usize,
    pub(crate) amount: Amount,
    pub(crate) threads: usize,
    /// Subscribers beside `connections` that cannot keep up.
    pub(crate) slow: Slowness,
    /// Connections that the rest of the scenario holds meanwhile.
    pub(crate) others: usize,
    /// Where it is a step of a search: the p99 to be held. It ends as soon as that has clearly failed, and rests nowhere.
    #[serde(skip)]
    pub(crate) bound_ms: Option<f64>,
}

/// When messages are sent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tempo {
    /// So many a second, whatever happens.
    #[serde(rename = "rate_per_s")]
    Rate(f64),
    /// So many under way, however fast that is.
    Window(u64),
    /// At its own times.
    #[serde(serialize_with = "Feed::described", rename = "feed_messages")]
    Feed(Arc<Feed>),
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
    #[error(transparent)]
    Counters(#[from] NoCounters),
    #[error("a churning connection was of no use: {0}")]
    Churn(#[source] Broken),
    /// The end was not waited for. Whoever's fault it was; `busy` says why it may have been ours.
    #[error(
        "{late_percent:.0} % came after the bound, and {behind_s:.2} s were outstanding, when {after_s:.2} s had passed"
    )]
    Hopeless {
        late_percent: f64,
        behind_s: f64,
        after_s: f64,
        busy: Option<String>,
        stolen_cores: Option<f64>,
    },
}

/// What runs at the same time, on connections of its own.
pub(crate) trait Beside {
    /// Messages it received.
    fn received(&self) -> u64 {
        0
    }

    /// Its connections that ended too early.
    fn closed(&self) -> u64 {
        0
    }
}

impl Beside for () {}

impl Fanout {
    /// Messages on the whole grid, warm-up included; what a window may send at most.
    pub(crate) fn messages(&self) -> u64 {
        match (self.amount, &self.tempo) {
            (_, Tempo::Feed(feed)) => feed.len(),
            // A float that is too large becomes the largest integer, which the command line refuses.
            (Amount::Timed { warmup_s, measured_s }, Tempo::Rate(per_s)) => {
                ((warmup_s + measured_s) * per_s).round().max(1.0) as u64
            }
            (Amount::Timed { .. }, Tempo::Window(_)) => u64::from(u32::MAX),
            (Amount::Messages(messages), _) => messages,
        }
    }

    /// The messages of a grid that are warm-up.
    pub(crate) fn warm_up_messages(&self) -> u64 {
        match (self.amount, &self.tempo) {
            (Amount::Timed { warmup_s, .. }, Tempo::Rate(per_s)) => (warmup_s * per_s).round() as u64,
            _ => 0,
        }
    }

    /// The intended times from `start_ns` on, and the first of them that is not warm-up.
    fn schedule(&self, start_ns: u64, fleet: &Fleet) -> (Schedule, u64) {
        match (&self.tempo, self.amount) {
            (Tempo::Feed(feed), _) => (Schedule::Feed { start_ns, feed: Arc::clone(feed) }, start_ns),
            (Tempo::Rate(per_s), _) => {
                let grid = Grid::new(start_ns, *per_s);
                (Schedule::Grid(grid), grid.at(self.warm_up_messages()))
            }
            (Tempo::Window(messages), amount) => {
                let warmup_s = match amount {
                    Amount::Timed { warmup_s, .. } => warmup_s,
                    Amount::Messages(_) => 0.0,
                };
                let outstanding = Outstanding::new(*messages, start_ns, fleet.tallies());
                (Schedule::Window(outstanding), start_ns + (warmup_s * 1e9) as u64)
            }
        }
    }

    /// Allows this process all connections of the run.
    pub(crate) fn raise_descriptors(&self) -> Result<(), FleetError> {
        fleet::raise_descriptors(self.others + self.connections + self.slow.count())
    }

    /// For how long messages are published; 0 where that is not known beforehand.
    pub(crate) fn timed_s(&self) -> f64 {
        match (self.amount, &self.tempo) {
            (Amount::Timed { warmup_s, measured_s }, _) => warmup_s + measured_s,
            (Amount::Messages(messages), Tempo::Rate(per_s)) => messages as f64 / per_s,
            (Amount::Messages(_), _) => 0.0,
        }
    }

    /// Runs it.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<Report, RunError> {
        let nothing = async |_, _: &Marks| Ok(());
        Ok(self.run_beside(subject, nothing).await?.0)
    }

    /// Runs it, and `beside` at the same time; that is told when the first message is due.
    pub(crate) async fn run_beside<T: Beside>(
        &self,
        subject: Subject<'_>,
        beside: impl AsyncFnOnce(u64, &Marks) -> Result<T, RunError>,
    ) -> Result<(Report, T), RunError> {
        let Subject { target, pid, clock, progress } = subject;
        let server = resolve(&target.address).await?;
        let topics = Arc::new(Topics::deal(&self.topics, self.connections));
        let marks = Arc::new(Marks::default());
        let muster = Muster {
            connections: self.connections,
            threads: self.threads,
            server,
            target: Arc::new(target.clone()),
            topics: Arc::clone(&topics),
            marks: Arc::clone(&marks),
            pace: Pace::Prompt,
            others: self.others,
            partial: false,
            abrupt: self.bound_ms.is_some(),
        };
        let counters_before = match target.operator() {
            Some(operator) => Some((operator, counters::read(operator).await?)),
            None => None,
        };
        let mut kernel = KernelMemory { tcp_bytes_before: kernel::tcp_bytes(), ..KernelMemory::default() };
        let mut cost = ServerCost { pid: pid.unwrap_or_default(), ..ServerCost::default() };
        let recorder = Recorder::start(clock, pid);
        recorder.phase("connect").await;
        let (fleet, connect_s) = self.connect(&muster, subject, &mut cost).await?;
        recorder.follow(fleet.tallies()).await;
        kernel.tcp_bytes_idle = kernel::tcp_bytes();
        let slow = self.connect_slow(&muster, subject).await?;
        let publish_at = resolve(target.publisher_address()).await?;
        let call = target.publisher(self.topics.only());
        let opened =
            handshake::open(publish_at, &call, Local::default()).await.map_err(RunError::Publisher)?;
        let supply: Box<dyn Supply> = match &self.tempo {
            Tempo::Feed(feed) => Box::new(Replay::new(feed, target)),
            _ => Box::new(Alike::new(&self.topics, target, self.payload_bytes)),
        };
        let start_ns = clock.now_ns() + PUBLISH_LEAD.as_nanos() as u64;
        let (schedule, measured_from_ns) = self.schedule(start_ns, &fleet);
        marks.measure_from(measured_from_ns);
        let (listeners, count) = (topics.listeners(), self.messages());
        let order = Order { schedule, supply, listeners, count, measured_from_ns };
        let publisher = Publisher::start(opened, order, clock).map_err(RunError::Thread)?;
        let mut stage =
            Stage { fleet, publisher, published: None, clock, pid, progress, recorder, hurry: None };
        if let (Tempo::Rate(per_s), Some(bound_ms)) = (&self.tempo, self.bound_ms) {
            marks.bound((bound_ms * 1e3) as u64);
            let deliveries_per_s = per_s * self.connections as f64;
            let deliveries = (self.messages() - self.warm_up_messages()) as f64 * self.connections as f64;
            stage.hurry =
                Some(Hurry { from: stage.reading(), start_ns, deliveries, deliveries_per_s, bound_ms });
        }
        let (window, beside) = tokio::try_join!(self.play(&mut stage, start_ns), beside(start_ns, &marks))?;
        kernel.tcp_bytes_end = kernel::tcp_bytes();
        cost.resident_bytes_end = pid.and_then(cost::resident_bytes);
        cost.resident_bytes_peak = pid.and_then(cost::resident_bytes_peak);
        let published = stage.published.take().unwrap_or_default();
        let timeline = stage.recorder.finish().await;
        let of_topic: Arc<[u64]> = published.of_topic.as_slice().into();
        let harvest = stage.fleet.finish(&of_topic).await?;
        let slow = self.read_out(slow, &of_topic, subject).await?;
        drop(stage.publisher);
        cost.cpu_us_per_delivery = window.server_us_per_delivery();
        cost.cores = window.server_cores();
        let mut report = self.report(target, &window, &published, harvest);
        report.connect_s = connect_s;
        report.server = pid.map(|_| cost);
        report.slow = slow;
        report.kernel = kernel;
        report.timeline = timeline;
        if let Some((operator, before)) = counters_before {
            let after = counters::read_settled(operator).await?;
            report.server_counts = Some(ServerCounts::between(before, after, arrived(&report, &beside)));
        }
        Ok((report.judge(), beside))
    }

    /// Reads what the slow ones have not read yet, where there are any.
    async fn read_out(
        &self,
        fleets: Vec<(Pace, Fleet)>,
        published: &Arc<[u64]>,
        subject: Subject<'_>,
    ) -> Result<Option<SlowFigures>, FleetError> {
        if fleets.is_empty() {
            return Ok(None);
        }
        let Subject { clock, progress, .. } = subject;
        let (from_ns, count) = (clock.now_ns(), self.slow.count() as u64);
        let phase = progress.phase("read out", count);
        let finishing = fleets
            .into_iter()
            .map(|(pace, fleet)| async move { fleet.finish(published).await.map(|harvest| (pace, harvest)) });
        let harvests = try_join_all(finishing).await?;
        phase.done(seconds_between(from_ns, clock.now_ns()), count, "slow ones");
        Ok(Some(SlowFigures::of(self.slow, harvests)))
    }

    /// From the first message to the last delivery; gives the measured part of it.
    async fn play(&self, stage: &mut Stage, start_ns: u64) -> Result<Window, RunError> {
        let total = self.messages();
        match self.amount {
            Amount::Timed { warmup_s, measured_s } => {
                // Between two messages, so that at a low rate each falls clearly on one side.
                let early_ns = match &self.tempo {
                    Tempo::Rate(per_s) => ((0.5e9 / per_s) as u64).min(READING_EARLY_NS_MAX),
                    Tempo::Window(_) | Tempo::Feed(_) => 0,
                };
                let measure_ns = start_ns - early_ns + (warmup_s * 1e9) as u64;
                let end_ns = measure_ns + (measured_s * 1e9) as u64;
                if warmup_s > 0.0 {
                    stage.publish_until(measure_ns, "warm-up", self.warm_up_messages()).await?;
                } else {
                    tokio::time::sleep(stage.clock.until(measure_ns)).await;
                }
                let from = stage.reading();
                stage.publish_until(end_ns, "measure", total).await?;
                let window = Window::new(from, stage.reading());
                if let Tempo::Window(_) = self.tempo {
                    stage.publisher.stop();
                }
                stage.drain(end_ns).await?;
                Ok(window)
            }
            Amount::Messages(_) => {
                let mut from = stage.reading();
                from.at_ns = start_ns;
                let end_ns = match &self.tempo {
                    Tempo::Feed(feed) => start_ns + feed.at_ns(total),
                    Tempo::Rate(per_s) => start_ns + (total as f64 / per_s * 1e9) as u64,
                    Tempo::Window(_) => u64::MAX,
                };
                stage.publish_until(end_ns, "measure", total).await?;
                stage.drain(end_ns.min(stage.clock.now_ns())).await?;
                let mut to = stage.reading();
                let published_ns = stage.published.as_ref().map_or(0, |published| published.end_ns);
                to.at_ns = to.received.last_delivery_ns.max(published_ns);
                Ok(Window::new(from, to))
            }
        }
    }
}

/// What the server's counters are to be compared with. A slow subscriber that is behind counts as closed: it was left with
/// its socket full.
fn arrived(report: &Report, beside: &impl Beside) -> Arrived {
    let slow = report.slow.as_ref();
    let [received, closed, behind] = slow.map_or([0; 3], |slow| [slow.received, slow.closed, slow.behind]);
    Arrived {
        published: report.published,
        deliveries: report.deliveries + received + beside.received(),
        closed: report.closed + closed + behind + beside.closed(),
        may_lose: report.receive_buffer_bytes.is_some(),
    }
}

/// The first address of the name; a loopback name gives one that needs no resolver.
pub(crate) async fn resolve(address: &Address) -> Result<SocketAddr, RunError> {
    let failed = |source| RunError::Resolve { host: address.host.clone(), source };
    let mut found = tokio::net::lookup_host((address.host.as_str(), address.port)).await.map_err(failed)?;
    found.next().ok_or_else(|| failed(io::Error::other("the name has no address")))
}
