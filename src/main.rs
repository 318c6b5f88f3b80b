//! The program `stentor`: the command line around the library.

mod cli;

use clap::Parser as _;
use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::say(&format!("stentor: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}
