//! What the mailbox is made of: the real things, or those of which `tests/loom` tries every order of steps.

#[cfg(loom)]
pub(super) use crate::model::{ArrayQueue, AtomicBool, AtomicU64, Notify, Unparker, spin_loop};
#[cfg(not(loom))]
pub(super) use {
    crossbeam::queue::ArrayQueue,
    crossbeam::sync::Unparker,
    std::hint::spin_loop,
    std::sync::atomic::{AtomicBool, AtomicU64},
    tokio::sync::Notify,
};
