//! `event`: every message counts, so a connection that cannot keep up is told where it stopped, and closed.

use super::{Policy, Verdict};
use crate::ids::TopicId;
use crate::shard::outbound::Outbound;

pub(crate) struct Event;

impl Policy for Event {
    fn overflow(&self, queue: &Outbound, topic: TopicId, seq: u64) -> Verdict {
        // The first of the topic that has not begun is the first that will not arrive.
        let lost = queue.numbers().find(|(of, .., begun)| *of == topic && *begun == 0);
        Verdict::Close { last: lost.map_or(seq - 1, |(_, before, ..)| before) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::protocol::class::Class;
    use crate::shard::log::Held;
    use crate::shard::outbound::{Data, Entry, Portion, Total};
    use std::cell::Cell;
    use std::rc::Rc;

    /// Proves: the number given is the last that arrives, also when a frame has begun or other topics queue.
    #[test]
    fn the_last_sequence_is_the_one_before_the_first_lost() {
        let mut total = Total::default();
        let mut queue = Outbound::new(Moment::default());
        assert_eq!(Event.overflow(&queue, 1, 40), Verdict::Close { last: 39 });
        let held = Rc::new(Held { bytes: vec![0; 9], queued: Cell::new(0) });
        let entry = |topic, seq| {
            let (held, class) = (held.clone(), Class::Event);
            Entry::Data(Data { held, topic, seq, class, indexed: false, since_s: 0 })
        };
        queue.push(entry(1, 10), 3, &mut total);
        queue.push(entry(2, 77), 0, &mut total);
        queue.push(entry(1, 11), 0, &mut total);
        assert_eq!(Event.overflow(&queue, 1, 12), Verdict::Close { last: 10 });
        let portion = Portion { held, topic: 3, after: 6, last: 9 };
        queue.push(Entry::Piece(portion), 0, &mut total);
        assert_eq!(
            Event.overflow(&queue, 3, 10),
            Verdict::Close { last: 6 },
            "a replay that waits is lost too"
        );
    }
}
