//! One publisher, its subscribers, and the phases they go through together.
//!
//! Contract: a phase ends at its time, or as soon as nobody is connected any more; only the drain waits for the publisher and
//! for what is still under way, and it is bounded too.

use crate::clock::Clock;
use crate::cost;
use crate::fleet::Fleet;
use crate::limits::{DRAIN_MAX, DRAIN_QUIET, DRAIN_STALL, KNEE_BEHIND_S, KNEE_LATE_PART};
use crate::machine;
use crate::measure::{Reading, Window, seconds_between};
use crate::progress::{Phase, Progress, TICK};
use crate::publisher::{PublishError, Published, Publisher};
use crate::recorder::Recorder;
use crate::report::busy_receiver;
use crate::scenario::fanout::RunError;

/// Everything that runs from the first message to the last delivery.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) publisher: Publisher,
    /// Present exactly when the publisher has sent its last message.
    pub(crate) published: Option<Published>,
    pub(crate) clock: Clock,
    pub(crate) pid: Option<u32>,
    pub(crate) progress: Progress,
    pub(crate) recorder: Recorder,
    /// Present exactly when the run ends as soon as it has clearly failed.
    pub(crate) hurry: Option<Hurry>,
}

/// When deliveries on a grid are so late that waiting for the end tells nothing more.
pub(crate) struct Hurry {
    /// Taken before the first message.
    pub(crate) from: Reading,
    pub(crate) start_ns: u64,
    /// To be made in the measured time,
    pub(crate) deliveries: f64,
    /// and in each second.
    pub(crate) deliveries_per_s: f64,
    pub(crate) bound_ms: f64,
}

impl Stage {
    /// A phase that lasts until `end_ns`, or until nobody is connected any more.
    pub(crate) async fn publish_until(
        &mut self,
        end_ns: u64,
        name: &'static str,
        total: u64,
    ) -> Result<(), RunError> {
        let from_ns = self.clock.now_ns();
        let before = self.publisher.count();
        self.recorder.phase(name).await;
        // How many a window will let through is not known.
        let phase = self.progress.phase(name, total.saturating_sub(before));
        self.wait(end_ns, &phase, before).await?;
        let published = self.publisher.count() - before;
        phase.done(seconds_between(from_ns, self.clock.now_ns()), published, "published");
        Ok(())
    }

    async fn wait(&mut self, end_ns: u64, phase: &Phase, before: u64) -> Result<(), RunError> {
        // Without an end it is the last message.
        let ended = |stage: &Self| end_ns == u64::MAX && stage.published.is_some();
        while self.clock.now_ns() < end_ns && self.anyone_connected() && !ended(self) {
            phase.at(self.publisher.count() - before);
            let pause = tokio::time::sleep(self.clock.until(end_ns).min(TICK));
            tokio::select! {
                done = self.publisher.done(), if self.published.is_none() => self.published = Some(done?),
                () = pause => {}
            }
            if let Some(late) = self.hurry.as_ref().and_then(|hurry| self.hopeless(hurry)) {
                return Err(late);
            }
        }
        Ok(())
    }

    fn hopeless(&self, hurry: &Hurry) -> Option<RunError> {
        let elapsed_ns = self.clock.now_ns().saturating_sub(hurry.start_ns);
        let after_s = elapsed_ns as f64 / 1e9;
        let received = self.fleet.received();
        // The first message is due at once, so whoever is in time is ahead of this line at first.
        let behind_s = (after_s - received.settled as f64 / hurry.deliveries_per_s).max(0.0);
        let late_part = received.late as f64 / hurry.deliveries;
        if behind_s <= hurry.bound_ms / 1e3 + KNEE_BEHIND_S && late_part <= KNEE_LATE_PART {
            return None;
        }
        let window = Window::new(hurry.from.clone(), self.reading());
        let (ran, wanted) = window.busiest_receiver();
        Some(RunError::Hopeless {
            late_percent: late_part * 100.0,
            behind_s,
            after_s,
            busy: busy_receiver(ran, wanted),
            stolen_cores: window.stolen_cores(),
        })
    }

    /// The last phase: waits for a publisher that is late, then until nothing comes any more.
    pub(crate) async fn drain(&mut self, end_ns: u64) -> Result<(), PublishError> {
        let from_ns = self.clock.now_ns();
        self.recorder.phase("drain").await;
        let before = self.fleet.received().deliveries;
        let phase = self.progress.phase("drain", self.publisher.routed());
        let give_up_ns = end_ns.max(from_ns) + DRAIN_MAX.as_nanos() as u64;
        while self.published.is_none() {
            if self.clock.now_ns() > give_up_ns || !self.anyone_connected() {
                self.publisher.stop();
                self.published = Some(self.publisher.done().await?);
                break;
            }
            phase.at(self.fleet.received().deliveries);
            tokio::select! {
                done = self.publisher.done() => self.published = Some(done?),
                () = tokio::time::sleep(TICK) => {}
            }
        }
        let routed = self.published.as_ref().map_or(0, |published| published.routed);
        let drain_ns = self.clock.now_ns();
        loop {
            let received = self.fleet.received();
            let now_ns = self.clock.now_ns();
            let complete = received.missing_of(routed) == 0;
            let quiet_ns = u128::from(now_ns - received.last_delivery_ns.max(drain_ns).min(now_ns));
            if complete && quiet_ns > DRAIN_QUIET.as_nanos()
                || quiet_ns > DRAIN_STALL.as_nanos()
                || u128::from(now_ns - drain_ns) > DRAIN_MAX.as_nanos()
            {
                break;
            }
            phase.at(received.deliveries);
            tokio::time::sleep(TICK / 10).await;
        }
        let late = self.fleet.received().deliveries - before;
        phase.done(seconds_between(from_ns, self.clock.now_ns()), late, "late deliveries");
        Ok(())
    }

    fn anyone_connected(&self) -> bool {
        let received = self.fleet.received();
        received.closed < received.opened
    }

    /// Everything that counts up, now.
    pub(crate) fn reading(&self) -> Reading {
        Reading {
            at_ns: self.clock.now_ns(),
            received: self.fleet.received(),
            server_cpu_ns: self.pid.and_then(cost::process_cpu_ns),
            own_cpu_ns: cost::process_cpu_ns(std::process::id()),
            stolen_ns: machine::stolen_ns(),
            receivers: self.fleet.thread_times(),
        }
    }
}
