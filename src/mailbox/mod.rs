//! A bounded queue between threads with a bell at each end; many may post, one takes.
//!
//! Contract:
//! 1. Bounded in items and in bytes. Full is a value: the item comes back and nobody waits.
//! 2. One item always fits an empty mailbox, however large.
//! 3. Whoever makes room rings `vacancy`; whoever brings an item rings `arrivals`.
//! 4. After [`Mailbox::close`] nothing is accepted, and everything accepted before is still taken:
//!    [`Mailbox::is_finished`] is true only when it has been.

pub(crate) mod doorbell;

pub(crate) use doorbell::{Doorbell, Sleeper};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// What a slot in the queue costs beside the item's own bytes; also keeps every reservation above zero.
const ITEM_BYTES: usize = 64;

/// The highest bit of the byte count says that the mailbox is closed.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: ArrayQueue<T>,
    /// Bytes reserved by items in the queue or about to enter it, and the `CLOSED` bit.
    reserved: CachePadded<AtomicUsize>,
    bytes_max: usize,
    /// Rung by those who post; the taker sleeps behind it.
    pub(crate) arrivals: Doorbell,
    /// Rung by the taker; those with an item that did not fit sleep behind it.
    pub(crate) vacancy: Doorbell,
}

impl<T: Weigh> Mailbox<T> {
    pub(crate) fn new(items_max: usize, bytes_max: usize, taker: Sleeper, posters: Sleeper) -> Self {
        Self {
            queue: ArrayQueue::new(items_max),
            reserved: CachePadded::new(AtomicUsize::new(0)),
            bytes_max,
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
        let weight = ITEM_BYTES + item.weight();
        // AcqRel: reservations and releases form one order; `is_finished` relies on seeing every one of them.
        let reserved = self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            let fits = held == 0 || (held & CLOSED == 0 && held + weight <= self.bytes_max);
            fits.then_some(held + weight)
        });
        match reserved {
            Err(held) if held & CLOSED != 0 => return Err(Refused::Closed(item)),
            Err(_) => return Err(Refused::Full(item)),
            Ok(_) => {}
        }
        self.queue.push(item).map_err(|item| {
            self.release(weight);
            // The reservation kept others out for a moment, so giving it back is making room.
            self.vacancy.ring();
            Refused::Full(item)
        })
    }

    /// Takes the oldest item. The caller rings `vacancy` when its batch is complete.
    pub(crate) fn take(&self) -> Option<T> {
        let item = self.queue.pop()?;
        self.release(ITEM_BYTES + item.weight());
        Some(item)
    }

    /// Refuses everything from now on, and wakes the taker so that it can finish.
    pub(crate) fn close(&self) {
        // AcqRel: ordered with every reservation, so each was either made before and will be taken, or refused.
        self.reserved.fetch_or(CLOSED, Ordering::AcqRel);
        self.arrivals.ring();
    }

    /// True exactly when the mailbox is closed and every accepted item has been taken.
    pub(crate) fn is_finished(&self) -> bool {
        // Acquire: pairs with the releases of those still between reservation and push.
        self.reserved.load(Ordering::Acquire) == CLOSED
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
        let held = self.reserved.load(Ordering::Relaxed) & !CLOSED;
        self.queue.len() * 2 >= self.queue.capacity() || held * 2 >= self.bytes_max
    }

    fn release(&self, weight: usize) {
        // AcqRel: see `post_quietly`.
        self.reserved.fetch_sub(weight, Ordering::AcqRel);
    }
}

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
