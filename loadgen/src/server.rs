//! A server that the generator starts and ends itself.
//!
//! Contract: [`Server::spawn`] returns once the server has said where it listens. [`Server::stop`] asks it to end, and kills
//! it when it does not. A `Server` that is dropped, on an error or an interrupt, kills its process: none stays behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fmt, io};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdin, Command};

use crate::floor::Floor;
use crate::limits::{SERVER_READY, SERVER_STOP};
use crate::pin::Pin;
use crate::target::address::Scheme;

const OPERATOR: &str = "operator on http://";
const LISTENING_NATS: &str = "Listening for client connections on ";

/// How a server says where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// Lines on standard output, of which these are wanted: where this is spoken, WebSocket, and the operator port.
    Stentor(Scheme),
    /// The first two of them, which may be one.
    Floor(Scheme),
    /// A line of its log, on standard error.
    Nats,
}

impl Speech {
    fn wanted(self) -> &'static str {
        match self {
            Self::Stentor(Scheme::Tcp) => {
                "`listening on tcp://…`, `listening on ws://…` and `operator on http://…`"
            }
            Self::Stentor(Scheme::Udp) => {
                "`listening on udp://…`, `listening on ws://…` and `operator on http://…`"
            }
            Self::Stentor(_) => "`listening on ws://…` and `operator on http://…`",
            Self::Floor(_) => "`listening on ws://…`",
            Self::Nats => "`Listening for client connections on …`",
        }
    }
}

type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A running child.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Held open as long as the child is wanted.
    _stdin: Option<ChildStdin>,
    /// Where subscribers and publishers connect.
    pub(crate) url: String,
    /// Where it takes WebSockets, if it does.
    pub(crate) websocket: Option<String>,
    /// Its operator port, where it has one.
    pub(crate) operator: Option<String>,
    /// Its process.
    pub(crate) pid: u32,
    speech: Speech,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SpawnError {
    #[error("cannot run {}: {source}", path.display())]
    Run { path: PathBuf, source: io::Error },
    /// Its own words are on standard error, which it shares with us.
    #[error("the server ended before it was ready ({status}); what it said is above")]
    Ended { status: String },
    #[error("the server did not print {wanted} within {} s", SERVER_READY.as_secs())]
    Silent { wanted: &'static str },
    #[error("cannot read what the server prints: {0}")]
    Output(#[source] io::Error),
}

/// How a server ended that did not end well.
#[derive(Debug)]
pub(crate) struct BadEnd(String);

impl fmt::Display for BadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Server {
    /// Runs `path serve` on free ports of loopback, one of them for `scheme`, with the extra arguments behind.
    pub(crate) async fn spawn(
        path: &Path,
        extra: &[OsString],
        scheme: Scheme,
        pin: Option<&Pin>,
    ) -> Result<Self, SpawnError> {
        let mut command = Command::new(path);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        match scheme {
            Scheme::Tcp => drop(command.args(["--tcp", "127.0.0.1:0"])),
            Scheme::Udp => drop(command.args(["--udp", "127.0.0.1:0"])),
            Scheme::Ws | Scheme::Nats | Scheme::Http => {}
        }
        command.args(extra).stdin(Stdio::null());
        Self::start(command, path, Speech::Stentor(scheme), pin).await
    }

    /// Runs the NATS server at `path` on a free port of loopback, likewise.
    pub(crate) async fn nats(path: &Path, extra: &[OsString], pin: Option<&Pin>) -> Result<Self, SpawnError> {
        let mut command = Command::new(path);
        command.args(["-a", "127.0.0.1", "-p", "-1"]).args(extra);
        command.stdin(Stdio::null());
        Self::start(command, path, Speech::Nats, pin).await
    }

    /// Runs this program again, as the floor.
    pub(crate) async fn floor(floor: &Floor, pin: Option<&Pin>) -> Result<Self, SpawnError> {
        let own = std::env::current_exe()
            .map_err(|source| SpawnError::Run { path: "stentor-loadgen".into(), source })?;
        let mut command = Command::new(&own);
        command.arg("floor-server").args(floor.coalesce.then_some("--coalesce"));
        command.args(floor.datagrams.then_some("--udp"));
        let scheme = if floor.datagrams { Scheme::Udp } else { Scheme::Ws };
        // It ends when this end of the pipe does.
        command.stdin(Stdio::piped());
        Self::start(command, &own, Speech::Floor(scheme), pin).await
    }

    async fn start(
        mut command: Command,
        path: &Path,
        speech: Speech,
        pin: Option<&Pin>,
    ) -> Result<Self, SpawnError> {
        match speech {
            Speech::Stentor(_) | Speech::Floor(_) => command.stdout(Stdio::piped()),
            Speech::Nats => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        command.kill_on_drop(true);
        let spawned = match pin {
            Some(pin) => pin.lend(|| command.spawn()),
            None => command.spawn(),
        };
        let mut child = spawned.map_err(|source| SpawnError::Run { path: path.to_owned(), source })?;
        // Waiting for a child closes its standard input, which is how the floor would notice that we are gone.
        let stdin = child.stdin.take();
        let no_pipe = || SpawnError::Output(io::Error::other("no pipe"));
        let output: Output = match speech {
            Speech::Stentor(_) | Speech::Floor(_) => Box::new(child.stdout.take().ok_or_else(no_pipe)?),
            Speech::Nats => Box::new(child.stderr.take().ok_or_else(no_pipe)?),
        };
        let mut lines = BufReader::new(output).lines();
        let ready = tokio::time::timeout(SERVER_READY, read_addresses(&mut lines, speech)).await;
        let silent = |_| SpawnError::Silent { wanted: speech.wanted() };
        let Addresses { url, websocket, operator } =
            match ready.map_err(silent)?.map_err(SpawnError::Output)? {
                Some(addresses) => addresses,
                None => return Err(SpawnError::Ended { status: ending(&mut child).await }),
            };
        let pid = child.id().ok_or_else(|| SpawnError::Ended { status: "at once".to_owned() })?;
        // A full pipe would stop the server; what it prints from here on is of no use to us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, _stdin: stdin, url, websocket, operator, pid, speech })
    }

    /// Asks it to end, waits, kills if need be.
    pub(crate) async fn stop(mut self) -> Result<(), BadEnd> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(BadEnd(format!("the server had ended by itself ({status})")));
        }
        // On SIGTERM a NATS server ends as badly as if it had failed.
        let signal = if self.speech == Speech::Nats { "INT" } else { "TERM" };
        if send(signal, self.pid).await {
            match tokio::time::timeout(SERVER_STOP, self.child.wait()).await {
                Ok(Ok(status)) if status.success() => return Ok(()),
                Ok(Ok(status)) => {
                    return Err(BadEnd(format!("the server ended badly after SIG{signal} ({status})")));
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let killed = self.child.kill().await;
        Err(BadEnd(match killed {
            Ok(()) => {
                format!(
                    "the server did not end within {} s of SIG{signal} and was killed",
                    SERVER_STOP.as_secs()
                )
            }
            Err(error) => format!("the server (process {}) could not be ended: {error}", self.pid),
        }))
    }
}

/// What a server says of itself.
struct Addresses {
    url: String,
    websocket: Option<String>,
    operator: Option<String>,
}

/// Reads until everything was said; none if the output ends before.
async fn read_addresses(
    lines: &mut Lines<BufReader<Output>>,
    speech: Speech,
) -> io::Result<Option<Addresses>> {
    let (mut url, mut websocket, mut operator) = (None, None, None);
    while let Some(line) = lines.next_line().await? {
        let listening = |scheme: Scheme| {
            let address = after(&line, &format!("listening on {scheme}://"))?;
            Some(format!("{scheme}://{address}"))
        };
        url = url.or_else(|| match speech {
            Speech::Stentor(scheme) | Speech::Floor(scheme) => listening(scheme),
            Speech::Nats => Some(format!("nats://{}", after(&line, LISTENING_NATS)?)),
        });
        websocket = websocket.or_else(|| listening(Scheme::Ws));
        operator = operator.or_else(|| Some(format!("http://{}", after(&line, OPERATOR)?)));
        let all = match speech {
            Speech::Stentor(_) => operator.is_some() && websocket.is_some(),
            Speech::Floor(_) => websocket.is_some(),
            Speech::Nats => true,
        };
        if let (Some(url), true) = (&url, all) {
            return Ok(Some(Addresses { url: url.clone(), websocket, operator }));
        }
    }
    Ok(None)
}

fn after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    line.split_once(words)?.1.split_whitespace().next()
}

async fn ending(child: &mut Child) -> String {
    match tokio::time::timeout(SERVER_STOP, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it closed its standard output".to_owned(),
    }
}

/// Through the shell, whose own `kill` POSIX demands: signals need unsafe code or a crate, `/bin/kill` may be missing.
async fn send(signal: &str, pid: u32) -> bool {
    if !cfg!(unix) {
        return false;
    }
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status();
    status.await.is_ok_and(|status| status.success())
}
