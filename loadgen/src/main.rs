//! `stentor-loadgen`: drives a fan-out server and verifies what every subscriber got.
//!
//! Contract: it knows the wire and no server. Exit code 0: all verified, or nothing worse; 1: the verification or the run failed, or
//! something is worse; 2: wrong usage.
//! The result is on standard output, everything else on standard error.
//!
//! ```text
//!  publisher thread ──▶ server ──▶ receiver threads, each: sockets ▸ walker ▸ stamp ▸ sequence, histogram
//!        ▲                             │
//!        └────── scenario (phases, drain) ◀────────┘   ▸ report ▸ table or JSON
//! ```

mod against_floor;
mod churn_figures;
mod churner;
mod cli;
mod clock;
mod compare;
mod connections_report;
mod contest_report;
mod cost;
mod counters;
mod crowd;
mod curve;
mod drive;
mod feed;
mod fleet;
mod floor;
mod frame;
mod handshake;
mod header;
mod html;
mod kernel;
mod knee;
mod knee_report;
mod lease;
mod limits;
mod machine;
mod measure;
mod pace;
mod pin;
mod progress;
mod publisher;
mod receiver;
mod recorder;
mod report;
mod scenario;
mod schedule;
mod server;
mod session;
mod slow_figures;
mod soak_figures;
mod socket;
mod stamp;
mod standing;
mod storm_figures;
mod subscriber;
mod supply;
mod table;
mod tally;
mod target;
mod timeline;
mod topics;
mod verify;
mod walker;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use mimalloc::MiMalloc;

use cli::{NoPlan, Plan, Setting};
use compare::Compare;
use drive::{Failure, Outcome, drive, interrupted};
use header::Header;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let plan = match cli::parse(std::env::args_os()) {
        Ok(plan) => plan,
        Err(NoPlan::Asked(text)) => return printed(&text),
        Err(NoPlan::Usage(line)) => {
            eprintln!("stentor-loadgen: {line} (see --help)");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match plan {
        Plan::Drive { work, peer, setting } => {
            let header = Header::new(&work, &peer, setting.pin.as_ref());
            match runtime.block_on(drive(&work, &peer, setting.pin.as_ref())) {
                Ok(outcome) => conclude(&header, &outcome, &setting),
                Err(failure) => failed(&failure),
            }
        }
        Plan::Compare { compare, json } => compared(&compare, json),
        Plan::BeFloor(floor) => {
            let served = runtime.block_on(floor::serve(floor, async { interrupted().await.map(drop) }));
            served.map_or_else(|error| failed(&error.into()), |()| ExitCode::SUCCESS)
        }
    }
}

fn compared(compare: &Compare, json: bool) -> ExitCode {
    let comparison = match compare.run() {
        Ok(comparison) => comparison,
        Err(line) => {
            eprintln!("stentor-loadgen: {line}");
            return ExitCode::from(2);
        }
    };
    for warning in comparison.warnings() {
        eprintln!("stentor-loadgen: {warning}");
    }
    let text = if json { comparison.json() } else { comparison.render() };
    let shown = printed(&format!("{text}\n"));
    if comparison.is_worse() { ExitCode::FAILURE } else { shown }
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("stentor-loadgen: {failure}");
    ExitCode::FAILURE
}

fn conclude(header: &Header, outcome: &Outcome, setting: &Setting) -> ExitCode {
    if let Some(reason) = outcome.invalid_reason() {
        eprintln!("stentor-loadgen: not a valid measurement: {reason}");
    }
    let pinned = setting.pin.as_ref().map_or(String::new(), |pin| format!("\npinned: {pin}"));
    let text = if setting.json { outcome.json(header) } else { outcome.table() + &pinned };
    let mut shown = printed(&format!("{text}\n"));
    if let Some(path) = &setting.html
        && let Err(error) = written(path, header, outcome)
    {
        eprintln!("stentor-loadgen: cannot write {}: {error}", path.display());
        shown = ExitCode::FAILURE;
    }
    match outcome.failure() {
        None => shown,
        Some(line) => {
            eprintln!("stentor-loadgen: {line}");
            ExitCode::FAILURE
        }
    }
}

fn written(path: &Path, header: &Header, outcome: &Outcome) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(path, html::page(header, outcome)?)?)
}

/// A reader that went away (`| head`) is not worth a panic.
fn printed(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
