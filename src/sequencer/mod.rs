//! The sequencer: one thread that gives every message its place.
//!
//! `core` and `answers` (pure) decide, over `topics`, `history` and `rules`, `run` is its thread, [`publisher`] the handle others hold.

mod answers;
mod changes;
pub(crate) mod core;
mod history;
mod identities;
mod patience;
pub(crate) mod piece;
pub mod publisher;
pub(crate) mod request;
pub(crate) mod rules;
pub(crate) mod run;
mod system;
mod topics;
mod turns;
mod wildcards;
