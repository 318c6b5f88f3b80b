//! The mailbox: nothing accepted is lost, nobody sleeps for ever, and what is held stays within its bounds.

use crate::mailbox::{Mailbox, Refused, Sleeper, Weigh};
use crate::model::Notify;
use crate::prove;
use loom::thread::{self, JoinHandle};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Debug, PartialEq)]
struct Item {
    number: usize,
    weight: usize,
}

impl Weigh for Item {
    fn weight(&self) -> usize {
        self.weight
    }
}

fn light(number: usize) -> Item {
    Item { number, weight: 1 }
}

/// A mailbox with what its taker and those without room sleep on. loom's threads take turns on one, so that an
/// `Rc` may go to them.
#[derive(Clone)]
struct Scene {
    mailbox: Rc<Mailbox<Item>>,
    arrived: Arc<Notify>,
    room: Arc<Notify>,
}

impl Scene {
    fn new(items_max: usize, bytes_max: usize) -> Self {
        let (arrived, room) = (Arc::new(Notify::default()), Arc::new(Notify::default()));
        let (taker, posters) = (Sleeper::Task(arrived.clone()), Sleeper::Tasks(room.clone()));
        Self { mailbox: Rc::new(Mailbox::new(items_max, bytes_max, taker, posters)), arrived, room }
    }

    /// Another thread with it.
    fn beside(&self, what: impl FnOnce(Self) + 'static) -> JoinHandle<()> {
        let scene = self.clone();
        thread::spawn(move || what(scene))
    }

    /// Posts, waiting for room, as publishers do; false when the mailbox is closed.
    fn send(&self, mut item: Item) -> bool {
        loop {
            item = match self.mailbox.post(item) {
                Ok(()) => return true,
                Err(Refused::Closed(_)) => return false,
                Err(Refused::Full(back)) => back,
            };
            let woken = self.room.notified();
            self.mailbox.vacancy.arm();
            item = match self.mailbox.post(item) {
                Ok(()) => return true,
                Err(Refused::Closed(_)) => return false,
                Err(Refused::Full(back)) => back,
            };
            woken.wait();
        }
    }

    /// Takes so many, sleeping whenever there is nothing, as shards do.
    fn take(&self, count: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        while taken.len() < count {
            if let Some(item) = self.mailbox.take() {
                taken.push(item.number);
                self.mailbox.vacancy.ring();
                continue;
            }
            self.mailbox.arrivals.arm();
            if self.mailbox.is_empty() {
                self.arrived.notified().wait();
            }
        }
        taken
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("ends"));
}

/// Two posters contend for the one place, and sleep without it; the taker sleeps when there is nothing.
#[test]
fn everything_posted_is_taken_and_nobody_sleeps_for_ever() {
    prove(|| {
        let scene = Scene::new(1, 100);
        let posters = [1, 2].map(|number| scene.beside(move |scene| assert!(scene.send(light(number)))));
        let mut taken = scene.take(2);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        join(posters);
        assert!(!scene.mailbox.is_half_full(), "nothing is held any more");
    });
}

#[test]
fn what_one_poster_posts_is_taken_in_its_order() {
    prove(|| {
        let scene = Scene::new(2, 100);
        let poster = scene.beside(|scene| assert!((1..=3).all(|number| scene.send(light(number)))));
        assert_eq!(scene.take(3), [1, 2, 3]);
        join([poster]);
    });
}

/// As the sequencer posts: without a ring until its batch is complete or finds no room, and then it rouses.
#[test]
fn a_refused_post_never_leaves_the_taker_asleep_with_work() {
    prove(|| {
        let scene = Scene::new(1, 100);
        let poster = scene.beside(|scene| {
            for number in 1..=2 {
                let mut next = scene.mailbox.post_quietly(light(number));
                while let Err(Refused::Full(item)) = next {
                    scene.mailbox.arrivals.rouse();
                    let woken = scene.room.notified();
                    scene.mailbox.vacancy.arm();
                    next = scene.mailbox.post_quietly(item);
                    if next.is_err() {
                        woken.wait();
                    }
                }
            }
            scene.mailbox.arrivals.ring();
        });
        assert_eq!(scene.take(2), [1, 2]);
        join([poster]);
    });
}

/// Two reserve at once what only one of them may have: by its bytes, then by its place.
#[test]
fn both_bounds_hold_against_posts_at_once() {
    for (items_max, weight) in [(8, 6), (2, 1)] {
        prove(move || {
            let scene = Scene::new(items_max, 10);
            assert!(scene.mailbox.post(Item { number: 0, weight: 3 }).is_ok());
            let post = move |scene: Scene| drop(scene.mailbox.post(Item { number: 1, weight }));
            join([scene.beside(post), scene.beside(post)]);
            assert_eq!(scene.mailbox.len(), 2, "there is room for one of them");
        });
    }
}

/// The heaviest items there are come and go: neither count borrows from the other, nor from the mark of the close.
#[test]
fn counts_never_wrap() {
    prove(|| {
        let scene = Scene::new(2, 10);
        let post = |scene: Scene| drop(scene.mailbox.post(Item { number: 1, weight: usize::MAX }));
        let posters = [scene.beside(post), scene.beside(post)];
        let early = scene.mailbox.take();
        join(posters);
        assert!(scene.mailbox.len() <= 1 && !scene.mailbox.is_closed());
        let late = scene.mailbox.take();
        assert!(early.is_some() || late.is_some(), "one always fits");
        assert!(!scene.mailbox.is_half_full());
        scene.mailbox.close();
        assert!(scene.mailbox.is_finished());
    });
}

/// The taker goes on until the mailbox says that it is finished, and sleeps on the way.
#[test]
fn closed_it_is_finished_exactly_when_all_that_was_accepted_is_taken() {
    prove(|| {
        let scene = Scene::new(2, 100);
        let accepted = Arc::new(AtomicUsize::new(1));
        let counted = accepted.clone();
        assert!(scene.mailbox.post(light(1)).is_ok());
        let poster = scene.beside(move |scene| {
            if scene.mailbox.post(light(2)).is_ok() {
                counted.fetch_add(1, Relaxed);
            }
        });
        let closer = scene.beside(|scene| scene.mailbox.close());
        let mut taken = 0;
        while !scene.mailbox.is_finished() {
            if scene.mailbox.take().is_some() {
                taken += 1;
                continue;
            }
            scene.mailbox.arrivals.arm();
            if scene.mailbox.is_empty() && !scene.mailbox.is_finished() {
                scene.arrived.notified().wait();
            }
        }
        join([poster, closer]);
        assert_eq!(taken, accepted.load(Relaxed), "taken and accepted");
        assert!(matches!(scene.mailbox.post(light(3)), Err(Refused::Closed(_))));
    });
}

/// A poster that waits for room is told of the close, as the server's end does it: emptied, then rung.
#[test]
fn nobody_waits_for_room_in_a_closed_mailbox() {
    prove(|| {
        let scene = Scene::new(1, 100);
        assert!(scene.mailbox.post(light(0)).is_ok());
        let poster = scene.beside(|scene| {
            scene.send(light(1));
        });
        scene.mailbox.close();
        while scene.mailbox.take().is_some() {}
        scene.mailbox.vacancy.ring();
        join([poster]);
    });
}
