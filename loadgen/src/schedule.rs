//! When messages are due: on a grid whatever happens, or when earlier ones have been delivered.
//!
//! Contract: pure, but for the receivers' counters that a [`Window`] reads.

use std::sync::Arc;
use std::time::Duration;

use crate::feed::Feed;
use crate::limits::{WINDOW_GLANCE, WINDOW_STALL};
use crate::pace::Grid;
use crate::tally::{Received, ReceiverTally};

/// When messages are due.
#[derive(Debug)]
pub(crate) enum Schedule {
    /// Open-loop.
    Grid(Grid),
    /// Closed: so many are under way at any time.
    Window(Window),
    /// Open-loop, at the times of a feed that begins at `start_ns`.
    Feed { start_ns: u64, feed: Arc<Feed> },
}

/// Messages under way, counted as the deliveries that are missing, by the mean number of subscribers of a message. A
/// server that loses some would stop the clock: after [`WINDOW_STALL`] without a delivery the missing ones are given up.
#[derive(Debug)]
pub(crate) struct Window {
    messages: u64,
    start_ns: u64,
    receivers: Vec<Arc<ReceiverTally>>,
    /// Messages that may be out before the receivers must be asked again.
    allowed: u64,
    given_up: u64,
    settled: u64,
    settled_ns: u64,
    stalls: u64,
}

impl Schedule {
    /// The intended time of message `index`, if it is due; `routed` deliveries belong to those before it.
    pub(crate) fn due(&mut self, index: u64, routed: u64, now_ns: u64) -> Option<u64> {
        match self {
            Self::Grid(grid) => Some(grid.at(index)).filter(|at_ns| *at_ns <= now_ns),
            Self::Window(window) => window.has_room(index, routed, now_ns).then_some(now_ns),
            Self::Feed { start_ns, feed } => {
                Some(*start_ns + feed.at_ns(index)).filter(|at_ns| *at_ns <= now_ns)
            }
        }
    }

    /// How long it is until message `index` may be due.
    pub(crate) fn wait(&self, index: u64, now_ns: u64) -> Duration {
        match self {
            Self::Grid(grid) => Duration::from_nanos(grid.at(index).saturating_sub(now_ns)),
            Self::Window(window) if now_ns < window.start_ns => {
                Duration::from_nanos(window.start_ns - now_ns)
            }
            Self::Window(_) => WINDOW_GLANCE,
            Self::Feed { start_ns, feed } => {
                Duration::from_nanos((start_ns + feed.at_ns(index)).saturating_sub(now_ns))
            }
        }
    }

    /// How often missing deliveries were given up.
    pub(crate) fn stalls(&self) -> u64 {
        match self {
            Self::Grid(_) | Self::Feed { .. } => 0,
            Self::Window(window) => window.stalls,
        }
    }
}

impl Window {
    /// `messages` under way to those whom `receivers` count, from `start_ns` on.
    pub(crate) fn new(messages: u64, start_ns: u64, receivers: Vec<Arc<ReceiverTally>>) -> Self {
        let (allowed, given_up, settled, settled_ns, stalls) = (0, 0, 0, start_ns, 0);
        Self { messages, start_ns, receivers, allowed, given_up, settled, settled_ns, stalls }
    }

    fn has_room(&mut self, published: u64, routed: u64, now_ns: u64) -> bool {
        if now_ns < self.start_ns {
            return false;
        }
        if published >= self.allowed {
            let received = Received::sum(&self.receivers);
            self.look(received, published, routed, now_ns);
        }
        published < self.allowed
    }

    fn look(&mut self, received: Received, published: u64, routed: u64, now_ns: u64) {
        let mut missing = received.missing_of(routed).saturating_sub(self.given_up);
        if received.settled != self.settled || missing == 0 {
            (self.settled, self.settled_ns) = (received.settled, now_ns);
        } else if u128::from(now_ns - self.settled_ns) > WINDOW_STALL.as_nanos() {
            self.given_up += missing;
            self.stalls += 1;
            self.settled_ns = now_ns;
            missing = 0;
        }
        let each = routed.checked_div(published).unwrap_or_default().max(1);
        self.allowed = published + self.messages.saturating_sub(missing.div_ceil(each));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(messages: u64) -> (Window, Arc<ReceiverTally>) {
        let tally = Arc::new(ReceiverTally::default());
        (0..10).for_each(|_| tally.opened());
        (Window::new(messages, 5, vec![Arc::clone(&tally)]), tally)
    }

    #[test]
    fn so_many_are_under_way_until_everybody_has_one() {
        let (mut window, tally) = window(2);
        assert!(!window.has_room(0, 0, 4), "not begun");
        assert!(window.has_room(0, 0, 5) && window.has_room(1, 10, 6));
        assert!(!window.has_room(2, 20, 7));
        tally.read(1, 9, 9, 8);
        assert!(!window.has_room(2, 20, 8), "one subscriber has not got the first");
        tally.read(1, 1, 1, 9);
        assert!(window.has_room(2, 20, 9) && !window.has_room(3, 30, 9));
    }

    #[test]
    fn what_never_comes_is_given_up_and_who_has_gone_is_not_waited_for() {
        let (mut window, tally) = window(1);
        assert!(window.has_room(0, 0, 5));
        tally.read(1, 8, 8, 6);
        let stall_ns = WINDOW_STALL.as_nanos() as u64;
        assert!(!window.has_room(1, 10, 7) && !window.has_room(1, 10, 7 + stall_ns));
        assert!(window.has_room(1, 10, 8 + stall_ns));
        assert_eq!(window.stalls, 1);
        tally.closed(1);
        tally.closed(0);
        // The other eight have all of their two messages but one.
        tally.read(1, 8, 8, 9);
        assert!(window.has_room(2, 20, 10 + stall_ns));
    }
}
