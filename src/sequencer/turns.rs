//! Whose turn it is to lose a message when all histories together are over their bound.
//!
//! Topics lose their oldest message one after the other. A topic that has only its last value left is spared while
//! there is any other: it waits apart, and comes back with its next message.

use crate::ids::TopicId;
use std::collections::VecDeque;

/// What a topic may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Nothing,
    /// Nothing but its last value.
    LastValue,
    Oldest,
}

/// See the module. A topic stands once in a line at most, whoever had its id before.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: VecDeque<TopicId>,
    spared: VecDeque<TopicId>,
    /// By id: stands in the line, stands among the spared.
    stands: Vec<(bool, bool)>,
}

impl Turns {
    /// A topic has one message more.
    pub(crate) fn enter(&mut self, id: TopicId) {
        let at = id as usize;
        if at >= self.stands.len() {
            self.stands.resize(at + 1, (false, false));
        }
        if !self.stands[at].0 {
            self.stands[at].0 = true;
            self.line.push_back(id);
        }
    }

    /// The topic that is to lose its oldest message now; `None` when nobody has any.
    pub(crate) fn next(&mut self, may_lose: impl Fn(TopicId) -> Loss) -> Option<TopicId> {
        while let Some(id) = self.line.pop_front() {
            let stands = &mut self.stands[id as usize];
            match may_lose(id) {
                Loss::Oldest => {
                    self.line.push_back(id);
                    return Some(id);
                }
                Loss::LastValue => {
                    if !stands.1 {
                        self.spared.push_back(id);
                    }
                    *stands = (false, true);
                }
                Loss::Nothing => stands.0 = false,
            }
        }
        while let Some(id) = self.spared.pop_front() {
            self.stands[id as usize].1 = false;
            if may_lose(id) != Loss::Nothing {
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_lose_in_turn_and_last_values_last() {
        let mut turns = Turns::default();
        let mut left = [3, 1, 2];
        for id in 0..3 {
            turns.enter(id);
            turns.enter(id);
        }
        let mut order = Vec::new();
        // The last message of each is its last value.
        let loss = |left: usize| match left {
            0 => Loss::Nothing,
            1 => Loss::LastValue,
            _ => Loss::Oldest,
        };
        while let Some(id) = turns.next(|id| loss(left[id as usize])) {
            left[id as usize] -= 1;
            order.push(id);
        }
        assert_eq!(order, [0, 2, 0, 1, 2, 0]);
        left[1] = 2;
        turns.enter(1);
        assert_eq!(turns.next(|id| loss(left[id as usize])), Some(1), "back with its next message");
    }
}
