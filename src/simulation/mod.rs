//! The sequencer's core and two shards' cores played together, in virtual time, over sockets that take part of a
//! write, stall, recover and die; with an oracle that checks the five promises after every step.
//!
//! A schedule is a list of [`operation::Operation`]s drawn from a seed. One that fails is cut down to the shortest
//! that still does, and printed with its seed. `STENTOR_SEEDS=10000 STENTOR_STEPS=1000 cargo test --release --lib
//! simulation` plays more and longer ones; `STENTOR_SEED=7` plays one.

mod accounts;
mod operation;
mod oracle;
mod published;
pub(crate) mod reading;
mod retirements;
pub(crate) mod scene;
mod shrink;
mod totals;
mod view;

use operation::Operation;
use oracle::Oracle;
use std::panic::{AssertUnwindSafe, catch_unwind};
use totals::Totals;

/// Plays a schedule; what went wrong, in words.
fn play(seed: u64, schedule: &[Operation]) -> Result<Totals, String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut oracle = Oracle::new(seed);
        for operation in schedule {
            oracle.step(operation)?;
        }
        Ok(oracle.finish()?.finish(schedule.len() as u64))
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Proves: whatever the schedule, order, no silent loss, atomic joins, bounds and the account hold after every
/// step; and when every socket has taken everything, whoever is still open has got all there was.
#[test]
fn every_schedule_keeps_every_promise() {
    let first = setting("STENTOR_SEED", 0);
    let seeds = if std::env::var_os("STENTOR_SEED").is_some() { 1 } else { setting("STENTOR_SEEDS", 1_000) };
    let steps = setting("STENTOR_STEPS", 300) as usize;
    let mut totals = Totals::default();
    for seed in first..first + seeds {
        let schedule = operation::schedule(seed, steps);
        match play(seed, &schedule) {
            Ok(seen) => totals += seen,
            Err(failure) => {
                let (shortest, failure) = shrink::shortest(schedule, failure, |some| play(seed, some).err());
                panic!("seed {seed}, {} steps: {failure}\n{shortest:#?}", shortest.len());
            }
        }
    }
    println!("{totals}");
    let untried = totals.untried();
    assert!(seeds < 500 || untried.is_empty(), "hardly any schedule tries {untried:?}:\n{totals}");
}
