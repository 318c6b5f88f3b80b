//! What does a delivery cost beside the designs one would write first?
//!
//! The designs: a map of senders under an `RwLock`, a sharded map (dashmap), one `tokio::sync::broadcast`, a
//! bounded mpsc and a task per connection, and Stentor. A round is 16 messages of 128 bytes to every
//! subscriber. *In process* everyone's queue ends empty and there is no socket: what is timed is what a design
//! does around the write, by the time on its core. *Over sockets* the bytes go over loopback TCP to subscribers that
//! one thread reads, and the clock stops when it has them all; every design is sent the same frames, made once, and
//! Stentor is the whole server with its defaults. Figures: a delivery.

mod in_process;
mod over_sockets;

#[path = "../common/audience.rs"]
mod audience;
#[path = "../common/cpu_time.rs"]
mod cpu_time;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/served.rs"]
mod served;

use cpu_time::CpuTime;
use criterion::{criterion_group, criterion_main};

/// Messages published before everyone is waited for.
const ROUND: usize = 16;

criterion_group!(name = alone; config = CpuTime::criterion(); targets = in_process::bench);
criterion_group!(served, over_sockets::bench);
criterion_main!(alone, served);
