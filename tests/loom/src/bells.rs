//! The doorbell by itself: what is brought before a ring is seen, or the sleeper is woken.

use crate::mailbox::{Doorbell, Sleeper};
use crate::model::{Notify, Parker};
use crate::prove;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Brings one piece of work, which only the bell makes visible, and rings.
fn bring(work: &AtomicUsize, bell: &Doorbell) {
    work.fetch_add(1, Relaxed);
    bell.ring();
}

type Sleep = Box<dyn Fn()>;

/// Two bring and ring, one sleeps until it has seen both.
fn nobody_waits_for_ever(bell: fn() -> (Doorbell, Sleep)) {
    prove(move || {
        let (bell, sleep) = bell();
        let shared = Arc::new((bell, AtomicUsize::new(0)));
        let bringers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || bring(&shared.1, &shared.0))
            })
            .collect();
        while shared.1.load(Relaxed) < 2 {
            shared.0.arm();
            if shared.1.load(Relaxed) < 2 {
                sleep();
            }
        }
        bringers.into_iter().for_each(|bringer| bringer.join().expect("rings"));
    });
}

#[test]
fn no_ring_is_lost_on_a_parked_thread() {
    nobody_waits_for_ever(|| {
        let parker = Parker::default();
        (Doorbell::new(Sleeper::Thread(parker.unparker())), Box::new(move || parker.park()))
    });
}

#[test]
fn no_ring_is_lost_on_a_waiting_task() {
    nobody_waits_for_ever(|| {
        let wake = Arc::new(Notify::default());
        (Doorbell::new(Sleeper::Task(wake.clone())), Box::new(move || wake.notified().wait()))
    });
}

/// As a shard sleeps behind its inbox and its commands, and the sequencer behind its queue and every inbox.
#[test]
fn one_sleeper_hears_both_its_bells() {
    prove(|| {
        let wake = Arc::new(Notify::default());
        let door = || (Doorbell::new(Sleeper::Task(wake.clone())), AtomicUsize::new(0));
        let doors = Arc::new([door(), door()]);
        let bringers: Vec<_> = (0..2)
            .map(|at| {
                let doors = doors.clone();
                thread::spawn(move || bring(&doors[at].1, &doors[at].0))
            })
            .collect();
        let seen = || doors.iter().all(|(_, work)| work.load(Relaxed) == 1);
        while !seen() {
            doors.iter().for_each(|(bell, _)| bell.arm());
            if !seen() {
                wake.notified().wait();
            }
        }
        bringers.into_iter().for_each(|bringer| bringer.join().expect("rings"));
    });
}

/// Two tasks that each register before they arm wait for one piece of work.
#[test]
fn one_ring_wakes_all_who_registered_before_they_armed() {
    prove(|| {
        let wake = Arc::new(Notify::default());
        let bell = Doorbell::new(Sleeper::Tasks(wake.clone()));
        let shared = Arc::new((bell, AtomicUsize::new(0)));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (shared, wake) = (shared.clone(), wake.clone());
                thread::spawn(move || {
                    let woken = wake.notified();
                    shared.0.arm();
                    if shared.1.load(Relaxed) == 0 {
                        woken.wait();
                        assert_eq!(shared.1.load(Relaxed), 1, "woken for nothing");
                    }
                })
            })
            .collect();
        bring(&shared.1, &shared.0);
        waiters.into_iter().for_each(|waiter| waiter.join().expect("is woken"));
    });
}

/// A ring behind another costs a swap and no system call.
#[test]
fn an_armed_bell_wakes_once_however_often_it_is_rung() {
    prove(|| {
        let wake = Arc::new(Notify::default());
        let bell = Arc::new(Doorbell::new(Sleeper::Task(wake.clone())));
        bell.arm();
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let bell = bell.clone();
                thread::spawn(move || bell.ring())
            })
            .collect();
        ringers.into_iter().for_each(|ringer| ringer.join().expect("rings"));
        bell.ring();
        assert_eq!(wake.wakes.load(Relaxed), 1);
    });
}
