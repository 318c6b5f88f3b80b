//! What the mailbox is made of here: loom's atomics, and stand-ins over them for what crossbeam and tokio promise.
//!
//! A stand-in shows others what it did no sooner than the original promises to: an emptiness looked at without
//! having been told of the push may be stale.

pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Condvar, Mutex};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// crossbeam's bounded queue, for one that takes.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    /// Not seen by loom, whose threads take turns; what may be seen of it is what the counts say.
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    pushed: AtomicUsize,
    popped: AtomicUsize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let count = || AtomicUsize::new(0);
        Self { items: RefCell::default(), capacity, pushed: count(), popped: count() }
    }

    /// Never meets a full queue: the mailbox has reserved the place.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let popped = self.popped.load(Acquire);
        let pushed = self.pushed.fetch_add(1, AcqRel);
        assert!(pushed - popped < self.capacity, "pushed without a place reserved");
        self.items.borrow_mut().push_back(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.popped.fetch_add(1, AcqRel);
        self.items.borrow_mut().pop_front()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.pushed.load(Acquire) - self.popped.load(Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// tokio's `Notify`, whose waiters are threads here.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    state: Mutex<State>,
    changed: Condvar,
    /// Wake-ups so far; not seen by loom.
    pub(crate) wakes: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// A wake for one that came before it waited.
    is_kept: bool,
    /// How often all who waited were woken.
    rounds: usize,
}

impl Notify {
    pub(crate) fn notify_one(&self) {
        self.change(|state| state.is_kept = true);
    }

    pub(crate) fn notify_waiters(&self) {
        self.change(|state| state.rounds += 1);
    }

    /// Registers, as `enable` does.
    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { rounds: self.lock().rounds, notify: self }
    }

    fn change(&self, what: impl FnOnce(&mut State)) {
        self.wakes.fetch_add(1, Relaxed);
        what(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> loom::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

/// Somebody registered with a [`Notify`].
pub(crate) struct Notified<'a> {
    rounds: usize,
    notify: &'a Notify,
}

impl Notified<'_> {
    /// Sleeps until woken. Where nobody is left to do so loom reports a deadlock.
    pub(crate) fn wait(self) {
        let mut state = self.notify.lock();
        while !std::mem::take(&mut state.is_kept) && state.rounds == self.rounds {
            state = self.notify.changed.wait(state).expect("nobody panics with it");
        }
    }
}

/// crossbeam's: a parked thread is one waiter, and a wake before it parks is kept.
#[derive(Debug, Default)]
pub(crate) struct Parker(Arc<Notify>);

impl Parker {
    pub(crate) fn unparker(&self) -> Unparker {
        Unparker(self.0.clone())
    }

    pub(crate) fn park(&self) {
        self.0.notified().wait();
    }
}

/// See [`Parker`].
#[derive(Debug)]
pub(crate) struct Unparker(Arc<Notify>);

impl Unparker {
    pub(crate) fn unpark(&self) {
        self.0.notify_one();
    }
}
