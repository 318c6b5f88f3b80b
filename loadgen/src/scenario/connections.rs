//! `connections`: as many idle subscribers as can be opened, then one message to all of them.
//!
//! Contract: the first limit that stops the opening ends it, is named, and fails nothing; what stands by then is held, measured,
//! sent to and verified. Where the operator port is known the message goes there: a server that is full takes no publisher.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::connections_report::{Connections as Figures, ConnectionsReport};
use crate::cost;
use crate::fleet::{self, Fleet, FleetError, Muster};
use crate::handshake::{self, Local};
use crate::kernel;
use crate::limits::{DESCRIPTORS_SPARE, PUBLISH_LEAD};
use crate::measure::seconds_between;
use crate::pace::Grid;
use crate::publisher::{Order, Publisher};
use crate::receiver::Pace;
use crate::recorder::Recorder;
use crate::report::thousands;
use crate::scenario::Subject;
use crate::scenario::fanout::{RunError, resolve};
use crate::scenario::stage::Stage;
use crate::schedule::Schedule;
use crate::supply::Alike;
use crate::tally::Marks;
use crate::topics::{TopicPlan, Topics};

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connections {
    pub(crate) topic: String,
    /// At most so many.
    pub(crate) wanted: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) threads: usize,
    /// How long they are held idle.
    pub(crate) hold_s: f64,
}

impl Connections {
    /// Runs it.
    pub(crate) async fn run(&self, subject: Subject<'_>) -> Result<ConnectionsReport, RunError> {
        let Subject { target, pid, clock, progress } = subject;
        let server = resolve(&target.address).await?;
        let plan = TopicPlan::one(&self.topic);
        let (wanted, own_limit) = self.permitted()?;
        let marks = Arc::new(Marks::default());
        marks.measure_from(0);
        let muster = Muster {
            connections: wanted,
            threads: self.threads,
            server,
            target: Arc::new(target.clone()),
            topics: Arc::new(Topics::deal(&plan, wanted)),
            marks,
            pace: Pace::Prompt,
            others: 0,
            partial: true,
            abrupt: false,
        };
        let memory = || Memory::now(pid);
        let before = memory();
        let recorder = Recorder::start(clock, pid);
        recorder.phase("connect").await;
        let from_ns = clock.now_ns();
        let phase = progress.phase("connect", wanted as u64);
        let fleet = Fleet::open(&muster, clock, &phase).await?;
        let connect_s = seconds_between(from_ns, clock.now_ns());
        recorder.follow(fleet.tallies()).await;
        let opened = fleet.received().opened;
        phase.done(connect_s, opened, "connections");
        recorder.phase("hold").await;
        let stopped_by = fleet.stopped_by().map(ToString::to_string).or(own_limit);
        tokio::time::sleep(Duration::from_secs_f64(self.hold_s)).await;
        let idle = memory();
        let still_open = opened - fleet.received().closed;

        let by_http = target.by_http();
        let publish_to = by_http.as_ref().unwrap_or(target);
        let publish_at = resolve(publish_to.publisher_address()).await?;
        let call = publish_to.publisher(plan.only());
        let line = handshake::open(publish_at, &call, Local::default()).await.map_err(RunError::Publisher)?;
        let grid = Grid::new(clock.now_ns() + PUBLISH_LEAD.as_nanos() as u64, 1.0);
        let order = Order {
            schedule: Schedule::Grid(grid),
            supply: Box::new(Alike::new(&plan, publish_to, self.payload_bytes)),
            // Nobody is left where all were refused.
            listeners: vec![u32::try_from(still_open).unwrap_or(u32::MAX)],
            count: 1,
            measured_from_ns: 0,
        };
        let publisher = Publisher::start(line, order, clock).map_err(RunError::Thread)?;
        let mut stage =
            Stage { fleet, publisher, published: None, clock, pid, progress, recorder, hurry: None };
        stage.drain(grid.at(0)).await?;
        let received = stage.fleet.received();
        let end = memory();
        let published = stage.published.take().unwrap_or_default();
        let timeline = stage.recorder.finish().await;
        let harvest = stage.fleet.finish(&published.of_topic.as_slice().into()).await?;
        let figures = Figures {
            wanted: self.wanted as u64,
            opened,
            stopped_by,
            connect_s,
            held_s: self.hold_s,
            closed: received.closed,
            closed_by_code: harvest.closed_by_code(),
            first_close_reason: harvest.first_reason,
            reached: harvest.account.received - harvest.account.duplicates,
            missing: harvest.missing,
            may_lose: target.may_lose(),
            duplicates: harvest.account.duplicates,
            last_reached_ms: (received.deliveries > 0)
                .then(|| received.last_delivery_ns.saturating_sub(grid.at(0)) as f64 / 1e6),
        };
        let report = ConnectionsReport::new(target, self.threads, figures, before, idle, end);
        Ok(ConnectionsReport { timeline, ..report })
    }

    /// How many this process may open, and the limit where they are fewer than wanted.
    fn permitted(&self) -> Result<(usize, Option<String>), RunError> {
        match fleet::raise_descriptors(self.wanted) {
            Ok(()) => Ok((self.wanted, None)),
            Err(FleetError::Descriptors { limit, .. }) if limit > DESCRIPTORS_SPARE + self.threads as u64 => {
                let named = format!("this process may have {} descriptors (ulimit -Hn)", thousands(limit));
                // A limit above what a usize holds is none.
                Ok(((limit - DESCRIPTORS_SPARE) as usize, Some(named)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What is used at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// Resident, of the server,
    pub(crate) server_bytes: Option<u64>,
    /// and of the generator.
    pub(crate) own_bytes: Option<u64>,
    /// Of the kernel: its structures, those for anything else included,
    pub(crate) slab_bytes: Option<u64>,
    /// and what is in socket buffers.
    pub(crate) tcp_bytes: Option<u64>,
}

impl Memory {
    fn now(pid: Option<u32>) -> Self {
        Self {
            server_bytes: pid.and_then(cost::resident_bytes),
            own_bytes: cost::resident_bytes(std::process::id()),
            slab_bytes: kernel::slab_bytes(),
            tcp_bytes: kernel::tcp_bytes(),
        }
    }
}
