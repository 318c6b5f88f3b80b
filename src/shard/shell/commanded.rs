//! What the shard does when it is asked beside its FIFO.

use super::Shell;
use crate::clock;
use crate::ids::{ConnectionId, Slot};
use crate::protocol::close::Reason;
use crate::shard::command::{Command, ConnectionLine, Drain, Rank, Ranked, Sort, Who, keep_first};
use crate::shard::core::connections::ConnectionReport;
use std::rc::Rc;
use std::time::Duration;

impl Shell {
    /// Does at most so many of the commands that wait; returns how many it did.
    pub(super) fn take_commands(self: &Rc<Self>, max: usize) -> usize {
        for done in 0..max {
            match self.handle.commands.take() {
                Some(command) => self.command(command),
                None => return done,
            }
        }
        max
    }

    fn command(self: &Rc<Self>, command: Command) {
        match command {
            Command::Adopt(admitted) => self.adopt(*admitted),
            Command::Connections { sort, limit, reply } => reply.send(self.connections(sort, limit)),
            Command::Counters(reply) => {
                let mut counters = self.core().counters();
                counters.closing = self.discarded.len() as u64;
                counters.inbox_frames = self.handle.inbox.len() as u64;
                reply.send(counters);
            }
            Command::Ledgers { topics, reply } => {
                let ledgers = &self.core().ledgers;
                reply.send(topics.iter().map(|topic| ledgers.of(*topic)).collect());
            }
            Command::Disconnect { id, reply } => {
                reply.send(self.close(id, Reason::Operator, "closed by the operator"));
            }
            Command::Drain(drain) => {
                self.draining.set(true);
                self.finish_by.set(drain.finish_by);
                tokio::task::spawn_local(self.clone().drain(drain));
            }
        }
    }

    /// The first so many in that order; the others are only looked at.
    fn connections(&self, sort: Sort, limit: usize) -> Vec<Ranked> {
        let sockets = self.sockets();
        let core = self.core();
        let mut ranked: Vec<_> =
            core.connections(clock::now()).map(|report| (sort.rank(&report), report)).collect();
        keep_first(&mut ranked, limit);
        let line = |(rank, report): (Rank, ConnectionReport)| {
            let client = sockets.about(report.id.slot)?;
            Some((rank, ConnectionLine::new(&report, client.visitor(report.id))))
        };
        ranked.into_iter().filter_map(line).collect()
    }

    /// One step of a shutdown: a notice to all, then closes at random moments while data still flows.
    async fn drain(self: Rc<Self>, drain: Drain) {
        let Drain { who, until, retry_after, done, .. } = drain;
        let now = clock::now();
        let chosen: Vec<ConnectionId> = self.core().connections(now).map(|report| report.id).collect();
        let chosen = chosen.into_iter().filter(|id| self.is_of(who, id.slot));
        let span_us = u64::try_from(until.since(now).as_micros()).unwrap_or(u64::MAX);
        let mut planned: Vec<_> =
            chosen.map(|id| (now + Duration::from_micros(fastrand::u64(..=span_us)), id)).collect();
        planned.sort_unstable_by_key(|(at, _)| *at);
        for (count, (_, id)) in planned.iter().enumerate() {
            let wait_ms = fastrand::u64(..=u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX));
            self.with(|core, sockets| core.notify_shutdown(*id, wait_ms, clock::now(), sockets));
            if count % 32 == 31 {
                tokio::task::yield_now().await;
            }
        }
        for (at, id) in planned {
            while clock::now() < at {
                tokio::time::sleep(at - clock::now()).await;
            }
            self.close(id, Reason::Shutdown, "restart");
        }
        done.send(());
    }

    fn is_of(&self, who: Who, slot: Slot) -> bool {
        let sockets = self.sockets();
        sockets.about(slot).is_some_and(|client| client.is_publisher == (who == Who::Publishers))
    }
}
