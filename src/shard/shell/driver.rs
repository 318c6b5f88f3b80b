//! The shard's duty cycle, on its own thread and its own single-threaded runtime.
//!
//! ```text
//!   commands → inbox into the log → sweep, yielding every 32 sends → yield → linger if more keeps coming
//! ```
//!
//! It sleeps only with both its bells armed and nothing to be seen. While it lingers its bells stay silent, so
//! that a message a microsecond does not cost a wake-up each; an inbox half full rouses it all the same.

use super::Shell;
use super::outfit::Outfit;
use super::poller::Poller;
use crate::clock;
use crate::limits::SENDS_PER_YIELD;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinSet;

/// Answers (each may be a send) handled between two yields.
const ANSWERS_PER_TURN: usize = 256;
/// Commands (each may be an adoption) handled between two yields.
const COMMANDS_PER_TURN: usize = 32;
/// How often a shard that is done looks whether its last connections have closed.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Runs a shard until the end mark has come and its connections are gone.
///
/// # Errors
/// The system refuses a runtime or a poller, or the poller fails.
pub(crate) fn run(mut outfit: Outfit) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let (poller, watch) = Poller::new()?;
        let datagrams = outfit.datagrams.take().map(UdpSocket::from_std).transpose()?.map(Rc::new);
        let groups = std::mem::take(&mut outfit.groups);
        let shell = Rc::new(Shell::new(outfit, datagrams.clone(), watch));
        for group in groups {
            shell.open_group(group).await?;
        }
        let mut tasks = JoinSet::new();
        if let Some(datagrams) = datagrams {
            tasks.spawn_local(shell.clone().listen(datagrams));
        }
        tasks.spawn_local(shell.clone().read(poller));
        tasks.spawn_local(shell.clone().resume_stalled());
        tasks.spawn_local(shell.clone().post_waiting());
        tasks.spawn_local(shell.clone().close_discarded());
        tasks.spawn_local(shell.clone().tick());
        tokio::select! {
            () = shell.work() => Ok(()),
            // Only a failure ends one of these, and a shard without it is none.
            _ = tasks.join_next() => Err(io::Error::other("one of its tasks ended")),
        }
    })
}

impl Shell {
    async fn work(self: &Rc<Self>) {
        while !self.is_finished() {
            let worked = self.take_commands(COMMANDS_PER_TURN) + self.take_inbox();
            if self.with(|core, _| core.is_in_debt()) {
                self.sweep().await;
                self.pace().await;
            } else if worked > 0 {
                tokio::task::yield_now().await;
            } else {
                self.sleep().await;
            }
        }
    }

    /// Moves what has come into the log, while that has room; returns how much it took.
    fn take_inbox(self: &Rc<Self>) -> usize {
        let inbox = &self.handle.inbox;
        let now = clock::now();
        let mut answers = 0;
        let taken = self.with(|core, sockets| {
            let mut taken = 0;
            while core.has_room() && answers < ANSWERS_PER_TURN {
                let Some(delivery) = inbox.take() else { break };
                answers += usize::from(!delivery.is_message());
                core.deliver(delivery, now, sockets);
                taken += 1;
            }
            taken
        });
        if taken > 0 {
            inbox.vacancy.ring();
        }
        taken
    }

    /// Pays everyone; what arrives meanwhile joins the log and is paid along with the rest.
    async fn sweep(self: &Rc<Self>) {
        self.handle.swept.store(clock::now());
        self.with(|core, _| core.begin_sweep());
        while !self.with(|core, sockets| core.sweep(SENDS_PER_YIELD, clock::now(), sockets)) {
            tokio::task::yield_now().await;
            self.take_commands(COMMANDS_PER_TURN);
            self.take_inbox();
        }
        self.with(|core, _| core.end_sweep());
    }

    /// Under load, waits a little for more to pay at once: at a million deliveries a second that takes a third off the
    /// CPU of each. When messages come one at a time nothing waits.
    async fn pace(self: &Rc<Self>) {
        tokio::task::yield_now().await;
        self.take_inbox();
        let linger = Duration::from_micros(self.settings.flush.linger_us);
        let is_busy = self.with(|core, _| core.frames_since_sweep() >= 2 && !core.is_half_full());
        if linger.is_zero() || !is_busy {
            return;
        }
        let rested = tokio::time::sleep(linger);
        tokio::pin!(rested);
        while !self.handle.inbox.is_half_full() {
            tokio::select! {
                () = &mut rested => return,
                () = self.handle.wake.notified() => {}
            }
        }
    }

    async fn sleep(self: &Rc<Self>) {
        self.handle.inbox.arrivals.arm();
        self.handle.commands.arrivals.arm();
        if self.handle.inbox.is_empty() && self.handle.commands.is_empty() {
            if self.with(|core, _| core.ended) {
                tokio::time::sleep(LAST_LOOK).await;
            } else {
                self.handle.wake.notified().await;
            }
        } else {
            tokio::task::yield_now().await;
        }
    }

    /// True when the end mark has come, everything is paid, and the connections are gone or have had their time.
    fn is_finished(self: &Rc<Self>) -> bool {
        self.with(|core, _| {
            core.ended && !core.is_in_debt() && (core.is_deserted() || clock::now() >= self.finish_by.get())
        })
    }
}
