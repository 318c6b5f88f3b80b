//! `stentor serve`: the server, until a signal ends it.

use super::failure::{Failure, colour};
use super::{say, tell};
use clap::Args;
use std::path::PathBuf;
use stentor::config::{ConfigError, Layers};
use stentor::{Server, Settings, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// What every command takes that needs settings. Each also has a `STENTOR_…` variable, which the flag beats.
#[derive(Args, Debug)]
pub(crate) struct SettingsArgs {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "STENTOR_CONFIG")]
    config: Option<PathBuf>,

    /// Where WebSocket clients connect [default: 127.0.0.1:7400; port 0 takes any free one]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Where the operator's HTTP listens [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// Shards, one thread each [default: one per core]
    #[arg(long, value_name = "N")]
    shards: Option<String>,

    /// How bytes get to the sockets: auto, epoll or uring [default: auto]
    #[arg(long, value_name = "IO")]
    io: Option<String>,

    /// Any setting by its name, for example --set limits.queue_bytes=1048576; `stentor check` lists them
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// Flag over environment over file over default.
    pub(crate) fn resolve(&self) -> Result<Settings, Failure> {
        self.layers().and_then(Layers::settings).map_err(|error| Failure::usage(error.to_string()))
    }

    fn layers(&self) -> Result<Layers, ConfigError> {
        // A variable that is not Unicode can only be meant for somebody else.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut layers = Layers::load(self.config.as_deref(), environment)?;
        for assignment in &self.set {
            let (name, value) = assignment.split_once('=').unwrap_or((assignment, ""));
            layers.set("--set", name, value)?;
        }
        let flags = [
            ("--listen", "listen", &self.listen),
            ("--admin", "admin", &self.admin),
            ("--shards", "shards", &self.shards),
            ("--io", "flush.io", &self.io),
        ];
        for (flag, name, value) in flags {
            if let Some(value) = value {
                layers.set(flag, name, value)?;
            }
        }
        Ok(layers)
    }
}

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let server = start(args)?;
    until_ended(server).await
}

/// Starts the server and says where it listens: two lines on standard output once every port is bound.
pub(crate) fn start(args: ServeArgs) -> Result<Server, Failure> {
    let settings = args.settings.resolve()?;
    let filter = EnvFilter::try_from_env("STENTOR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = colour(&std::io::stderr());
    // Only the first in a process can be set, and there is only one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .try_init();
    let server = Server::builder().settings(settings).start().map_err(|error| match error {
        StartError::Setting(message) => Failure::usage(message),
        error => Failure::run(error.to_string()),
    })?;
    tell(&format!("listening on ws://{}", server.websocket_address()));
    tell(&format!("operator on http://{}", server.operator_address()));
    Ok(server)
}

/// Waits for SIGTERM or Ctrl-C and ends in order; a second one ends at once.
pub(crate) async fn until_ended(server: Server) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    signals.next().await;
    say("stentor: draining; once more ends at once");
    let ending = tokio::task::spawn_blocking(move || server.shutdown());
    tokio::select! {
        _ = ending => Ok(()),
        code = signals.next() => std::process::exit(code),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::run(format!("cannot listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for one of them; gives the exit code of a process that it kills.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }
}
