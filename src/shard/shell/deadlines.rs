//! Deadlines of messages that are half-read: whoever sends a byte now and then is alive, and holds a decoder for ever.
//!
//! One place a connection at most, and only for those that are half-read when there is nothing more to be read: asked
//! once a second, not a timer each.

use super::Shell;
use crate::clock::Moment;
use crate::ids::ConnectionId;
use crate::protocol::close::Reason;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// See the module. Ordered by when to look, nearly: one who has made progress since is looked at later.
pub(super) type Deadlines = VecDeque<(Moment, ConnectionId)>;

impl Shell {
    /// Notes that a connection is in the middle of a message that began then.
    pub(super) fn watch_half_read(&self, id: ConnectionId, began: Moment) {
        self.deadlines.borrow_mut().push_back((began + self.read_limit(), id));
    }

    /// Closes those whose message has taken too long.
    pub(super) fn close_half_read(self: &Rc<Self>, now: Moment) {
        while let Some(id) = self.next_due(now) {
            let Some(began) = self.half_read_since(id) else { continue };
            if now.since(began) < self.read_limit() {
                self.watch_half_read(id, began);
            } else {
                self.close(id, Reason::ReadDeadline, "a message took too long to come (limits.read_s)");
            }
        }
    }

    fn next_due(&self, now: Moment) -> Option<ConnectionId> {
        let mut deadlines = self.deadlines.borrow_mut();
        deadlines.front().filter(|(due, _)| *due <= now)?;
        deadlines.pop_front().map(|(_, id)| id)
    }

    fn read_limit(&self) -> Duration {
        Duration::from_secs(self.settings.limits.read_s)
    }
}
