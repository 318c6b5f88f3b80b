//! The sequencer: one thread that gives every message its place.
//!
//! `core` and `answers` (pure) decide, `run` is its thread, [`publisher`] the handle others hold.

mod answers;
pub(crate) mod core;
pub mod publisher;
pub(crate) mod request;
pub(crate) mod run;
mod topics;
