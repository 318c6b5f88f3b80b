//! A doorbell: one flag between those who bring work and the one who may be asleep.
//!
//! Contract: after [`Doorbell::arm`], either the work was already there to be seen, or the next
//! [`Doorbell::ring`] wakes the sleeper. A ring costs one atomic swap; only the first after an `arm` wakes.
//!
//! ```text
//! bringer:  push; ring()          sleeper:  arm(); look once more; sleep
//! ```
//!
//! Both sides use a swap on the same flag, so one of the two comes second: either the sleeper's swap reads the
//! bringer's (and its look sees the push), or the bringer's reads the sleeper's `false` (and wakes it). A plain
//! store in `arm` would lose that order. `tests/loom` tries these orders.

use super::sync::{AtomicBool, Notify, Unparker};
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How the one behind the bell sleeps.
#[derive(Debug)]
pub(crate) enum Sleeper {
    /// A thread, parked.
    Thread(Unparker),
    /// One task, waiting on the `Notify`; a wake before it waits is kept for it.
    Task(Arc<Notify>),
    /// Any number of tasks, all woken together; each registers with the `Notify` before it arms the bell.
    Tasks(Arc<Notify>),
}

impl Sleeper {
    fn wake(&self) {
        match self {
            Self::Thread(unparker) => unparker.unpark(),
            Self::Task(notify) => notify.notify_one(),
            Self::Tasks(notify) => notify.notify_waiters(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Doorbell {
    /// True exactly when nobody needs waking: the sleeper is awake, or a ring is already on its way.
    rung: CachePadded<AtomicBool>,
    sleeper: Sleeper,
}

impl Doorbell {
    pub(crate) fn new(sleeper: Sleeper) -> Self {
        Self { rung: CachePadded::new(AtomicBool::new(true)), sleeper }
    }

    /// Says that there is something to see.
    pub(crate) fn ring(&self) {
        // AcqRel: the release half pairs with the acquire half of the swap in `arm` and makes the work before
        // this ring visible to the look that follows it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.sleeper.wake();
        }
    }

    /// Wakes the sleeper whether or not the bell is armed: for work that cannot wait for its pause to end.
    pub(crate) fn rouse(&self) {
        self.sleeper.wake();
    }

    /// From here on a ring wakes. Look once more before sleeping.
    pub(crate) fn arm(&self) {
        // AcqRel: the acquire half pairs with the release half of the swap in `ring`.
        self.rung.swap(false, Ordering::AcqRel);
    }
}
