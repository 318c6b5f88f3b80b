//! How much memory does a connection cost in the pure cores: slab, topics, debts?
//!
//! Resident memory as the system counts it, divided by the connections; the sockets, the kernel's buffers and what
//! the shell keeps of a connection are not in it. `hot`: one topic, a run owed is 64 consecutive messages.
//! `drawn`: 10,000 topics, about 39 of them each; 256 messages after their popularity are owed, mostly listed one
//! by one. *Paid* is what remains afterwards. Figures: bytes a connection.

#[path = "common/load.rs"]
mod load;
#[path = "common/populace.rs"]
mod populace;

use populace::{Populace, Zipf};
use serde_json::{Map, Value};
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};
use stentor::Payload;
use stentor::harness::InProcess;
use stentor::limits::Limits;

fn main() -> Result<(), Box<dyn Error>> {
    let asked: Vec<_> = env::args().skip(1).collect();
    if asked.iter().any(|word| !word.starts_with('-') && !"memory".contains(word)) || resident().is_none() {
        return Ok(());
    }
    let is_test = asked.iter().any(|word| word == "--test");
    let (hot, drawn) = if is_test { (1_000, 1_000) } else { (1_000_000, 100_000) };
    let mut figures = Map::new();
    measure(&mut figures, "hot", Populace::hot(hot), &[0; 64]);
    let mut zipf = Zipf::new(2);
    let published: Vec<_> = (0..256).map(|_| zipf.draw()).collect();
    measure(&mut figures, "drawn", Populace::drawn(drawn), &published);
    if !is_test {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let folder = target.join("criterion");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("memory.json"), serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

/// One populace at rest, in debt, and paid.
fn measure(figures: &mut Map<String, Value>, name: &str, populace: Populace, published: &[usize]) {
    let connections = populace.chosen.len();
    let before = resident().unwrap_or_default();
    let mut wired = InProcess::with(Limits::default(), populace.connections());
    let mut note = |state: &str| {
        let bytes = resident().unwrap_or_default().saturating_sub(before) / connections;
        println!("memory/{name}, {connections} connections, {state}: {bytes} bytes a connection");
        figures.insert(format!("{name}, {connections} connections, {state}"), bytes.into());
    };
    note("at rest");
    let payload = Payload::text(load::payload());
    published.iter().for_each(|topic| wired.publish(&populace.topics[*topic], payload.clone()));
    note("in debt");
    wired.sweep();
    note("paid");
}

/// Bytes of this process in memory, where the system says so.
fn resident() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: usize| kib << 10)
}
