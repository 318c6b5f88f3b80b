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

    /// Where TCP clients connect, with length-prefixed frames [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    tcp: Option<String>,

    /// Where clients come by UDP, with datagrams [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    udp: Option<String>,

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
            ("--tcp", "tcp", &self.tcp),
            ("--udp", "udp", &self.udp),
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
    let signals = Signals::new()?;
    let server = start(&args)?;
    until_ended(server, &args, signals).await
}

/// Starts the server and says where it listens: two lines on standard output once every port is bound.
pub(crate) fn start(args: &ServeArgs) -> Result<Server, Failure> {
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
    if let Some(address) = server.tcp_address() {
        tell(&format!("listening on tcp://{address}"));
    }
    if let Some(address) = server.udp_address() {
        tell(&format!("listening on udp://{address}"));
    }
    tell(&format!("operator on http://{}", server.operator_address()));
    Ok(server)
}

/// Waits for SIGTERM or Ctrl-C and ends in order; a second one ends at once. SIGHUP reads the topic rules again.
pub(crate) async fn until_ended(
    server: Server,
    args: &ServeArgs,
    mut signals: Signals,
) -> Result<(), Failure> {
    while signals.is_hung_up().await {
        reload(&server, args).await;
    }
    say("stentor: draining; once more ends at once");
    let ending = tokio::task::spawn_blocking(move || server.shutdown());
    tokio::select! {
        _ = ending => Ok(()),
        code = signals.next() => std::process::exit(code),
    }
}

/// Puts the configuration's topic rules in force. What is wrong is one line, and the rules stay as they were.
async fn reload(server: &Server, args: &ServeArgs) {
    let settings = match args.settings.layers().and_then(Layers::settings) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!(%error, "not reloaded; the topic rules stay as they were");
            return;
        }
    };
    match server.reload(&settings).await {
        Ok(others) if others.is_empty() => {
            tracing::info!(rules = settings.topics.len(), "topic rules reloaded");
        }
        Ok(others) => {
            let others = others.join(", ");
            tracing::warn!(rules = settings.topics.len(), %others, "topic rules reloaded; the others need a restart");
        }
        Err(error) => tracing::error!(%error, "not reloaded; the topic rules stay as they were"),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::run(format!("cannot listen for signals: {error}")))
}

/// What the process is told from outside. Made before the server says that it listens: a hang-up that nobody
/// listens for would end it.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them; true when it was a hang-up.
    async fn is_hung_up(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = self.hangup.recv() => true,
        }
    }

    /// Waits for one of them; gives the exit code of a process that it kills.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
        }
    }
}
