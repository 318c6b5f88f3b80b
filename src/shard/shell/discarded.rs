//! Sockets of connections that have ended, closed a few at a time.
//!
//! A close is most of what an ended connection costs. When 10,000 go at once, those who are served would wait for
//! all of the closes; here they wait for [`CLOSES_PER_S`] / 1,000 of them a millisecond. A socket that waits is in
//! nobody's way: nothing is routed to it any more, only its descriptor and its seat are still taken.

use super::Shell;
use super::socket_table::Socket;
use crate::clock::{self, Moment};
use crate::limits::CLOSES_PER_S;
use crate::transport::paced::{Paced, STEP};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(super) struct Discarded {
    sockets: RefCell<Paced<Rc<Socket>>>,
    bell: Notify,
}

impl Discarded {
    pub(super) fn new(now: Moment) -> Self {
        Self { sockets: RefCell::new(Paced::new(CLOSES_PER_S, now)), bell: Notify::new() }
    }

    /// Sockets that wait.
    pub(super) fn len(&self) -> usize {
        self.sockets.borrow().len()
    }

    /// Closes the socket, now or when its turn comes.
    pub(super) fn push(&self, socket: Rc<Socket>) {
        self.sockets.borrow_mut().push(socket);
        if self.close_due() {
            self.bell.notify_one();
        }
    }

    /// Closes those whose turn has come; true exactly when more wait.
    fn close_due(&self) -> bool {
        let mut sockets = self.sockets.borrow_mut();
        let now = clock::now();
        std::iter::from_fn(|| sockets.next(now)).for_each(drop);
        !sockets.is_empty()
    }
}

impl Shell {
    /// Closes what had to wait, for as long as the shard lives.
    pub(super) async fn close_discarded(self: Rc<Self>) {
        loop {
            self.discarded.bell.notified().await;
            while self.discarded.close_due() {
                tokio::time::sleep(STEP).await;
            }
        }
    }
}
