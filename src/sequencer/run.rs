//! The sequencer's thread: takes requests, asks the core, posts what it says. It does no I/O.
//!
//! A request is taken only when everything the one before caused has been posted: with an inbox full the
//! sequencer leaves its queue alone until that shard rings, and publishers see the queue fill. Nothing accepted
//! is lost, and no thread waits on another.

use super::core::{Outbox, Sequencer};
use super::request::{Delivery, Now, Request};
use crate::clock;
use crate::mailbox::{Mailbox, Refused};
use crate::shard::directory::{Directory, ShardHandle};
use crossbeam::sync::Parker;
use std::sync::Arc;
use std::time::Duration;

/// Requests handled between two looks at the bells.
const BATCH: usize = 64;
/// How often idle topics are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the queue is closed and drained, then posts the end mark to every shard.
pub(crate) fn run(
    mut core: Sequencer,
    requests: &Mailbox<Request>,
    directory: &Arc<Directory>,
    parker: &Parker,
) {
    let mut out = Outbox::new();
    let mut next_tick = clock::now() + TICK;
    loop {
        let shards = directory.load();
        let mut taken = 0;
        while taken < BATCH && out.is_empty() {
            let Some(request) = requests.take() else { break };
            let now = Now { moment: clock::now(), unix_us: clock::unix_micros() };
            core.handle(request, now, &mut out);
            post(&shards, &mut out);
            taken += 1;
        }
        if taken > 0 {
            requests.vacancy.ring();
            shards.iter().for_each(|shard| shard.inbox.arrivals.ring());
        }
        core.counters.queued = requests.len() as u64;
        if clock::now() >= next_tick {
            core.tick(clock::now(), &mut out);
            post(&shards, &mut out);
            shards.iter().for_each(|shard| shard.inbox.arrivals.ring());
            next_tick = clock::now() + TICK;
        }
        if !out.is_empty() {
            core.counters.stalls += 1;
            wait_for_room(&shards, &mut out, parker);
            shards.iter().for_each(|shard| shard.inbox.arrivals.ring());
        } else if requests.is_finished() {
            break;
        } else if taken == 0 {
            requests.arrivals.arm();
            if requests.is_empty() && !requests.is_finished() {
                parker.park_timeout(TICK);
            }
        }
    }
    let shards = directory.load();
    out.extend((0..shards.len()).map(|shard| (shard as u16, Delivery::End)));
    post(&shards, &mut out);
    while !out.is_empty() {
        wait_for_room(&shards, &mut out, parker);
    }
    shards.iter().for_each(|shard| shard.inbox.arrivals.ring());
}

/// Posts until the outbox is empty or an inbox is full.
fn post(shards: &[ShardHandle], out: &mut Outbox) {
    while let Some((shard, delivery)) = out.pop_front() {
        let Some(handle) = shards.get(usize::from(shard)) else { continue };
        match handle.inbox.post_quietly(delivery) {
            Ok(()) if handle.inbox.is_half_full() => handle.inbox.arrivals.rouse(),
            Ok(()) | Err(Refused::Closed(_)) => {}
            Err(Refused::Full(delivery)) => {
                out.push_front((shard, delivery));
                return;
            }
        }
    }
}

/// Parks until the shard at the head of the outbox has made room; a closed shard wants nothing.
fn wait_for_room(shards: &[ShardHandle], out: &mut Outbox, parker: &Parker) {
    let Some((shard, _)) = out.front() else { return };
    let inbox = &shards[usize::from(*shard)].inbox;
    inbox.arrivals.rouse();
    inbox.vacancy.arm();
    let before = out.len();
    post(shards, out);
    if out.len() == before {
        parker.park_timeout(TICK);
        post(shards, out);
    }
}
