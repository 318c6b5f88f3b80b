//! Where the publisher's messages come from.
//!
//! Contract: a [`Supply`] gives one message after the other, and numbers those of each topic from 0; when they are due is not
//! its business.

use crate::frame::PublishFrame;
use crate::stamp::{Payload, Stamp};
use crate::target::Target;
use crate::topics::{Chooser, TopicPlan};

/// Messages without end.
pub(crate) trait Supply: Send {
    /// Appends the next message, stamped with its intended time, as it goes over the wire; gives its topic.
    fn push(&mut self, out: &mut Vec<u8>, intended_ns: u64) -> u32;

    /// Bytes of the largest message.
    fn bytes_max(&self) -> usize;
}

/// Messages that are all alike, to topics drawn at random.
#[derive(Debug)]
pub(crate) struct Alike {
    chooser: Chooser,
    /// One for each topic.
    frames: Vec<PublishFrame>,
    next: Vec<u32>,
}

impl Alike {
    /// Messages of `payload_bytes` for the topics of `plan`, as `target` takes them.
    pub(crate) fn new(plan: &TopicPlan, target: &Target, payload_bytes: usize) -> Self {
        let payload = Payload::new(payload_bytes);
        let only = plan.only().is_some();
        let frame = |topic| target.message(&plan.name(topic), &payload, only);
        let frames = (0..plan.count as u32).map(frame).collect();
        Self { chooser: Chooser::new(plan), frames, next: vec![0; plan.count] }
    }
}

impl Supply for Alike {
    fn push(&mut self, out: &mut Vec<u8>, intended_ns: u64) -> u32 {
        let topic = self.chooser.next();
        let seq = &mut self.next[topic as usize];
        self.frames[topic as usize].push(out, Stamp { intended_ns, topic, seq: *seq });
        *seq += 1;
        topic
    }

    fn bytes_max(&self) -> usize {
        self.frames.iter().map(PublishFrame::len).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::stentor;
    use crate::topics::Choice;

    #[test]
    fn each_topic_counts_for_itself() {
        let plan = TopicPlan { count: 3, choice: Choice::Uniform, ..TopicPlan::one("t") };
        let mut supply = Alike::new(&plan, &stentor("ws://h"), 64);
        let (mut wire, mut pushed) = (Vec::new(), [0; 3]);
        for index in 0..100 {
            wire.clear();
            let topic = supply.push(&mut wire, index);
            assert!(wire.len() <= supply.bytes_max());
            pushed[topic as usize] += 1;
        }
        assert_eq!(supply.next, pushed);
        assert!(pushed.iter().all(|count| *count > 10), "{pushed:?}");
    }
}
