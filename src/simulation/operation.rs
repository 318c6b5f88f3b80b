//! What may happen, with everything it needs to happen the same way again. Who and what are meant are indices into
//! what there is at that moment, so that a schedule stays one when steps are left out of it.

use super::view::TOPICS;
use crate::protocol::class::Class;
use fastrand::Rng;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// A client connects; its socket will take so many bytes.
    Connect { room: usize, combined: bool },
    /// One more topic; `back` messages before the last that came, or from the next on.
    Subscribe { who: usize, topic: usize, back: Option<u64> },
    /// One fewer.
    Unsubscribe { who: usize, topic: usize },
    /// One more pattern, in one operation with a topic or without.
    SubscribePattern { who: usize, pattern: usize, topic: Option<usize> },
    /// One pattern fewer.
    UnsubscribePattern { who: usize, pattern: usize },
    /// A message of so many bytes beside its number, an image or not.
    Publish { topic: usize, size: usize, image: bool, numbering: Numbering },
    /// A shard takes so many of its inbox.
    Take { shard: usize, count: usize },
    /// A shard pays with so many sends, of a sweep under way or a new one.
    Sweep { shard: usize, sends: usize },
    /// A socket takes so many bytes more, and the writer's task goes on.
    Room { who: usize, bytes: usize },
    /// A socket will never take any more.
    Die { who: usize },
    /// The client sends a ping.
    Pong { who: usize },
    /// The client asks something that the shard answers by itself.
    Answer { who: usize },
    /// The client asks for the envelope, or for payloads as they are.
    Combine { who: usize, combined: bool },
    /// The operator closes the connection.
    Close { who: usize },
    /// The client is gone.
    End { who: usize },
    /// A shard tells the sequencer which subscriptions ended, and asks for what is missing of histories.
    Tell { shard: usize },
    /// Time passes; the shards look after their connections.
    Wait { millis: u64 },
}

/// What a publisher says of a message's place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbering {
    Next,
    /// So many numbers are left out before it.
    LeavesOut(u64),
    /// A new history begins with it.
    Anew,
}

/// So many steps, the same for the same seed.
pub(super) fn schedule(seed: u64, steps: usize) -> Vec<Operation> {
    let mut rng = Rng::with_seed(seed ^ 0x5EED);
    // Some topics are busy, so that queues fill, often one of those that then begin again; the others come late.
    let deltas = (0..TOPICS.len()).filter(|topic| TOPICS[*topic].class == Class::Delta);
    let deltas: Vec<_> = deltas.chain([rng.usize(..64)]).collect();
    let busy = [rng.usize(..64), rng.usize(..64), deltas[rng.usize(..deltas.len())]];
    (0..steps).map(|_| draw(&mut rng, busy)).collect()
}

fn draw(rng: &mut Rng, busy: [usize; 3]) -> Operation {
    let (who, shard) = (rng.usize(..64), rng.usize(..2));
    let topic = if rng.u8(..5) > 0 { busy[rng.usize(..3)] } else { rng.usize(..64) };
    match rng.u32(0..100) {
        0..5 => {
            let room = if rng.u8(..3) == 0 { usize::MAX } else { rng.usize(200..5_000) };
            Operation::Connect { room, combined: rng.u8(..4) == 0 }
        }
        5..15 => {
            let back = rng.bool().then(|| rng.u64(0..20));
            Operation::Subscribe { who, topic, back }
        }
        15..18 => Operation::Unsubscribe { who, topic },
        18..20 => {
            let with = rng.bool().then_some(topic);
            Operation::SubscribePattern { who, pattern: rng.usize(..64), topic: with }
        }
        20..22 => Operation::UnsubscribePattern { who, pattern: rng.usize(..64) },
        22..48 => {
            let is_large = rng.u8(..20) == 0;
            let size = if is_large { rng.usize(16_000..20_000) } else { rng.usize(0..300) };
            let numbering = match rng.u8(..40) {
                0 => Numbering::Anew,
                1 => Numbering::LeavesOut(rng.u64(1..9)),
                _ => Numbering::Next,
            };
            Operation::Publish { topic, size, image: rng.u8(..6) == 0, numbering }
        }
        48..62 => Operation::Take { shard, count: rng.usize(1..20) },
        62..76 => Operation::Sweep { shard, sends: rng.usize(1..6) },
        76..86 => Operation::Room { who, bytes: rng.usize(0..3_000) },
        86..88 => Operation::Pong { who },
        88..90 => Operation::Answer { who },
        90..92 => Operation::Combine { who, combined: rng.bool() },
        92 => Operation::Die { who },
        93 => Operation::Close { who },
        94 => Operation::End { who },
        95..98 => Operation::Tell { shard },
        _ => Operation::Wait { millis: rng.u64(0..2_000) },
    }
}
