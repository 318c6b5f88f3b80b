//! `stentor-loadgen`: drives a fan-out server and verifies what every subscriber got.
//!
//! Contract: it knows the wire and no server. Exit code 0: all verified; 1: the verification or the run failed; 2: wrong usage.
//! The result is on standard output, everything else on standard error.
//!
//! ```text
//!  publisher thread ──▶ server ──▶ receiver threads, each: sockets ▸ walker ▸ stamp ▸ sequence, histogram
//!        ▲                             │
//!        └────── scenario (phases, drain) ◀────────┘   ▸ report ▸ table or JSON
//! ```

mod cli;
mod clock;
mod cost;
mod fleet;
mod frame;
mod handshake;
mod limits;
mod measure;
mod pace;
mod progress;
mod publisher;
mod receiver;
mod report;
mod scenario;
mod server;
mod stamp;
mod subscriber;
mod table;
mod tally;
mod target;
mod verify;
mod walker;

use std::io::{self, Write};
use std::process::ExitCode;

use mimalloc::MiMalloc;

use cli::{NoPlan, Peer, Plan};
use clock::Clock;
use progress::Progress;
use report::Report;
use server::{Server, SpawnError};
use target::{Target, TargetError};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Run(#[from] scenario::fanout::RunError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("the spawned server gave an address that cannot be used: {0}")]
    Address(#[from] TargetError),
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

fn main() -> ExitCode {
    let plan = match cli::parse(std::env::args_os()) {
        Ok(plan) => plan,
        Err(NoPlan::Asked(text)) => return printed(&text),
        Err(NoPlan::Usage(line)) => {
            eprintln!("stentor-loadgen: {line} (see --help)");
            return ExitCode::from(2);
        }
    };
    let report = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(drive(&plan)),
        Err(error) => Err(error.into()),
    };
    match report {
        Ok(report) => conclude(&report, plan.json),
        Err(failure) => {
            eprintln!("stentor-loadgen: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenario against a server that runs, or one that is started for it and ended whatever happens.
async fn drive(plan: &Plan) -> Result<Report, Failure> {
    let clock = Clock::start();
    match &plan.peer {
        Peer::Running { target, pid } => {
            let run = async { Ok(plan.fanout.run(target, *pid, clock, Progress::new()).await?) };
            unless_interrupted(run).await
        }
        Peer::Spawned { path, args } => {
            let server = unless_interrupted(async { Ok(Server::spawn(path, args).await?) }).await?;
            let run = async {
                let target = Target::parse(&server.url)?;
                Ok(plan.fanout.run(&target, Some(server.pid), clock, Progress::new()).await?)
            };
            let report = unless_interrupted(run).await;
            if let Err(bad_end) = server.stop().await {
                eprintln!("stentor-loadgen: {bad_end}");
            }
            report
        }
    }
}

async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        signal = interrupted() => Err(Failure::Interrupted(signal?)),
    }
}

#[cfg(unix)]
async fn interrupted() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| "Ctrl-C"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
}

fn conclude(report: &Report, json: bool) -> ExitCode {
    let text = if json {
        // Only numbers, texts and maps with text keys: it cannot fail.
        serde_json::to_string(report).unwrap_or_default()
    } else {
        table::render(report)
    };
    if let Some(reason) = &report.invalid_reason {
        eprintln!("stentor-loadgen: not a valid measurement: {reason}");
    }
    let shown = printed(&format!("{text}\n"));
    match report.failure() {
        None => shown,
        Some(line) => {
            eprintln!("stentor-loadgen: {line}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that went away (`| head`) is not worth a panic.
fn printed(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
