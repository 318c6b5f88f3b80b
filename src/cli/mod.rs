//! The command line: what was typed becomes one call. A command a file.

mod check;
mod conversation;
mod demo;
mod failure;
mod feed;
mod market;
mod printer;
mod publish;
mod recording;
mod replay;
mod serve;
mod sub;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::future::Future;
use std::io::Write as _;

/// One message in, every subscriber's socket out: a broadcaster for market data and the like.
#[derive(Debug, Parser)]
#[command(name = "stentor", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Run the server with a synthetic market feed publishing into it
    Demo(serve::ServeArgs),
    /// Subscribe to topics and print what arrives
    Sub(sub::SubArgs),
    /// Publish one message, or each line of standard input
    Pub(publish::PubArgs),
    /// Publish a recording at its own pace
    Replay(replay::ReplayArgs),
    /// Print the effective configuration and its worst-case memory
    Check(check::CheckArgs),
}

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Sub(args) => block_on(sub::run(args)),
        Command::Pub(args) => block_on(publish::run(args)),
        Command::Replay(args) => block_on(replay::run(args)),
        Command::Check(args) => check::run(&args),
    }
}

/// Says something on standard error; a closed one is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says something on standard output, at once; a closed one is no reason to stop.
fn tell(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::run(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}
