//! Proves, in every order in which its steps can be taken and seen: the doorbell and the mailbox keep their
//! contracts.
//!
//! Method: loom runs a model again and again, until every interleaving with at most `PREEMPTIONS` switches away
//! from a thread that could go on, and every value a load may see, has been tried. Where all threads sleep it
//! reports a deadlock, which is what a lost wake-up comes to. `mailbox` is the server's own code; under it lie
//! the stand-ins of `model`.

#![cfg(test)]

mod bells;
#[path = "../../../src/mailbox/mod.rs"]
mod mailbox;
mod model;
mod posting;

/// Going to sleep does not count as one.
const PREEMPTIONS: usize = 3;

fn prove(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}
