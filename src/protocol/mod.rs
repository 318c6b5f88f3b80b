//! The wire's words: topic names, request targets, operations, replies, close codes. Pure.

pub mod class;
pub mod close;
pub(crate) mod identity;
pub(crate) mod operation;
pub mod options;
pub mod outcome;
pub(crate) mod pattern;
pub(crate) mod prefixes;
pub(crate) mod reply;
pub(crate) mod system;
pub(crate) mod target;
pub mod topic;
