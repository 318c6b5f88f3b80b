//! The sequencer: one thread that gives every message its place.
//!
//! `core` (pure) decides, `run` is its thread, [`publisher`] the handle others hold.

pub(crate) mod core;
pub mod publisher;
pub(crate) mod request;
pub(crate) mod run;
mod topics;
