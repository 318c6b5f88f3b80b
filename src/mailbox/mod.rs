//! A bounded queue between threads with a bell at each end; many may post, one takes.
//!
//! Contract:
//! 1. Bounded in items and in bytes. Full is a value: the item comes back and nobody waits.
//! 2. One item always fits an empty mailbox, however large.
//! 3. Whoever brings an item rings `arrivals`; the taker, having made room, rings `vacancy`.
//! 4. After [`Mailbox::close`] nothing is accepted, and everything accepted before is still taken:
//!    [`Mailbox::is_finished`] is true only when it has been.
//!
//! Tried and left out: releasing what is taken by the batch (no gain, from one, four or sixteen who post).
//!
//! `tests/loom` holds it to all four in every order of its steps with up to three preemptions.

pub(crate) mod doorbell;
mod sync;

pub(crate) use doorbell::{Doorbell, Sleeper};

use crossbeam::utils::CachePadded;
use std::sync::atomic::Ordering;
use sync::{ArrayQueue, AtomicU64, spin_loop};

/// What an item counts towards the byte bound.
pub(crate) trait Weigh {
    /// Bytes held by the item, payload and bookkeeping.
    fn weight(&self) -> usize;
}

/// Why an item came back.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    /// No room now: arm `vacancy`, try once more, wait.
    Full(T),
    /// Closed for good.
    Closed(T),
}

/// Items a mailbox may hold at most.
pub(crate) const ITEMS_MAX: usize = (1 << 22) - 1;

/// What is held, in one word, so that both bounds are kept by one compare-and-swap:
/// the highest bit says closed, the next 22 count items, the lowest 41 bytes.
const CLOSED: u64 = 1 << 63;
const ITEM: u64 = 1 << 41;
const BYTES: u64 = ITEM - 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: ArrayQueue<T>,
    /// Items and bytes in the queue, about to enter it or just leaving it.
    held: CachePadded<AtomicU64>,
    bytes_max: u64,
    /// Rung by those who post; the taker sleeps behind it.
    pub(crate) arrivals: Doorbell,
    /// Rung by the taker; those with an item that did not fit sleep behind it.
    pub(crate) vacancy: Doorbell,
}

impl<T: Weigh> Mailbox<T> {
    pub(crate) fn new(items_max: usize, bytes_max: usize, taker: Sleeper, posters: Sleeper) -> Self {
        Self {
            queue: ArrayQueue::new(items_max.min(ITEMS_MAX)),
            held: CachePadded::new(AtomicU64::new(0)),
            bytes_max: (bytes_max as u64).min(BYTES / 2),
            arrivals: Doorbell::new(taker),
            vacancy: Doorbell::new(posters),
        }
    }

    /// Posts one item and rings.
    pub(crate) fn post(&self, item: T) -> Result<(), Refused<T>> {
        self.post_quietly(item)?;
        self.arrivals.ring();
        Ok(())
    }

    /// Posts one item; the caller rings `arrivals` when its batch is complete.
    pub(crate) fn post_quietly(&self, item: T) -> Result<(), Refused<T>> {
        let weight = share(&item);
        // AcqRel: reservations and releases form one order; `is_finished` relies on seeing every one of them, and
        // the push below on the pops before the releases it counts on.
        let reserved = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            let fits = held / ITEM < self.queue.capacity() as u64
                && (held & BYTES) + (weight & BYTES) <= self.bytes_max;
            (held == 0 || fits && held & CLOSED == 0).then_some(held + weight)
        });
        match reserved {
            Err(held) if held & CLOSED != 0 => return Err(Refused::Closed(item)),
            Err(_) => return Err(Refused::Full(item)),
            Ok(_) => {}
        }
        // The place is reserved, and a reservation is released only after its pop: this succeeds at once.
        let mut item = item;
        while let Err(back) = self.queue.push(item) {
            item = back;
            spin_loop();
        }
        Ok(())
    }

    /// Takes the oldest item. The caller rings `vacancy` when its batch is complete.
    pub(crate) fn take(&self) -> Option<T> {
        let item = self.queue.pop()?;
        // AcqRel: see `post_quietly`.
        self.held.fetch_sub(share(&item), Ordering::AcqRel);
        Some(item)
    }

    /// Refuses everything from now on, and wakes the taker so that it can finish.
    pub(crate) fn close(&self) {
        // AcqRel: ordered with every reservation, so each was either made before and will be taken, or refused.
        self.held.fetch_or(CLOSED, Ordering::AcqRel);
        self.arrivals.ring();
    }

    /// True exactly when the mailbox is closed and every accepted item has been taken.
    pub(crate) fn is_finished(&self) -> bool {
        // Acquire: pairs with the releases of those still between reservation and push.
        self.held.load(Ordering::Acquire) == CLOSED
    }

    /// True exactly when nothing is accepted any more.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: what was done before the close is seen by whoever finds it closed.
        self.held.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Items waiting.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// True from the moment the mailbox is half full, in items or in bytes.
    pub(crate) fn is_half_full(&self) -> bool {
        // Relaxed: a hint; nothing is read on the strength of it.
        let held = self.held.load(Ordering::Relaxed) & !CLOSED;
        held / ITEM * 2 >= self.queue.capacity() as u64 || (held & BYTES) * 2 >= self.bytes_max
    }
}

/// What an item adds to the word.
fn share<T: Weigh>(item: &T) -> u64 {
    ITEM + (item.weight() as u64).min(BYTES / 2)
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::sync::Parker;
    use std::sync::Arc;
    use tokio::sync::Notify;

    impl Weigh for u64 {
        fn weight(&self) -> usize {
            *self as usize
        }
    }

    fn mailbox(items: usize, bytes: usize) -> Mailbox<u64> {
        let sleeper = || Sleeper::Tasks(Arc::new(Notify::new()));
        Mailbox::new(items, bytes, sleeper(), sleeper())
    }

    #[test]
    fn full_in_items_gives_the_item_back() {
        let mailbox = mailbox(2, usize::MAX >> 1);
        assert!(mailbox.post(1).is_ok() && mailbox.post(2).is_ok());
        assert!(matches!(mailbox.post(3), Err(Refused::Full(3))));
        assert_eq!(mailbox.take(), Some(1));
        assert!(mailbox.post(3).is_ok());
    }

    #[test]
    fn full_in_bytes_gives_the_item_back_but_one_always_fits() {
        let mailbox = mailbox(8, 1_000);
        assert!(mailbox.post(5_000).is_ok());
        assert!(matches!(mailbox.post(1), Err(Refused::Full(1))));
        assert_eq!(mailbox.take(), Some(5_000));
        assert!(mailbox.post(1).is_ok());
    }

    #[test]
    fn closing_refuses_the_new_and_keeps_the_accepted() {
        let mailbox = mailbox(8, 1_000);
        assert!(mailbox.post(1).is_ok());
        mailbox.close();
        assert!(matches!(mailbox.post(2), Err(Refused::Closed(2))));
        assert!(!mailbox.is_finished());
        assert_eq!(mailbox.take(), Some(1));
        assert!(mailbox.is_finished());
    }

    /// Proves: a post that fails wakes nobody, least of all the one who failed; else waiting would be spinning.
    #[test]
    fn a_refused_post_rings_no_bell() {
        let room = Parker::new();
        let posters = Sleeper::Thread(room.unparker().clone());
        let mailbox = Mailbox::<u64>::new(1, 1_000, Sleeper::Tasks(Arc::new(Notify::new())), posters);
        assert!(mailbox.post(1).is_ok());
        mailbox.vacancy.arm();
        assert!(matches!(mailbox.post(2), Err(Refused::Full(2))));
        let (began, pause) = (crate::clock::now(), std::time::Duration::from_millis(20));
        room.park_timeout(pause);
        assert!(crate::clock::now() - began >= pause, "woken by its own refusal");
        assert_eq!(mailbox.take(), Some(1));
    }

    /// Proves: no wake-up is lost between posters and a taker that sleeps, and nothing accepted is lost.
    /// Method: four threads post through a mailbox of four; the taker parks whenever it finds nothing.
    #[test]
    fn nobody_sleeps_through_a_ring() {
        const EACH: u64 = 20_000;
        let parker = Parker::new();
        let room = Parker::new();
        let mailbox = Arc::new(Mailbox::<u64>::new(
            4,
            1 << 20,
            Sleeper::Thread(parker.unparker().clone()),
            Sleeper::Thread(room.unparker().clone()),
        ));
        let poster = {
            let mailbox = mailbox.clone();
            std::thread::spawn(move || {
                for item in 0..EACH {
                    let mut item = item;
                    while let Err(Refused::Full(back)) = mailbox.post(item) {
                        mailbox.vacancy.arm();
                        match mailbox.post(back) {
                            Err(Refused::Full(again)) => item = again,
                            _ => break,
                        }
                        room.park();
                    }
                }
            })
        };
        let mut next = 0;
        while next < EACH {
            match mailbox.take() {
                Some(item) => {
                    assert_eq!(item, next);
                    next += 1;
                    mailbox.vacancy.ring();
                }
                None => {
                    mailbox.arrivals.arm();
                    if mailbox.is_empty() {
                        parker.park();
                    }
                }
            }
        }
        poster.join().unwrap();
    }
}
