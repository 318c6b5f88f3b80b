//! The program as a child process, killed if its test fails.

use super::Addresses;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// A server process on free ports, with every transport.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) at: Addresses,
    /// `http://…`
    pub(crate) operator: String,
}

impl Process {
    /// `stentor serve` or `stentor demo`, with more arguments.
    pub(crate) fn start(command: &str, more: &[&str]) -> Self {
        Self::start_logging(command, more, Stdio::null())
    }

    /// The same, with everything that it logs, from `debug` on.
    pub(crate) fn start_logging(command: &str, more: &[&str], log: impl Into<Stdio>) -> Self {
        let mut child = stentor()
            .args([command, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(more)
            .env("STENTOR_LOG", "stentor=debug")
            // A flag for the same weighs more.
            .env("STENTOR_TCP", "127.0.0.1:0")
            .env("STENTOR_UDP", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut listening, mut operator) = (HashMap::new(), None);
        while operator.is_none() {
            let line = lines.next().unwrap().unwrap();
            match line.split_once(" on ") {
                Some(("listening", url)) => {
                    let (scheme, address) = url.split_once("://").unwrap();
                    listening.insert(scheme.to_owned(), address.parse().unwrap());
                }
                Some(("operator", url)) => operator = Some(url.to_owned()),
                _ => panic!("not an address: {line}"),
            }
        }
        let [websocket, tcp, udp] = ["ws", "tcp", "udp"].map(|scheme| listening[scheme]);
        Self { child, lines, at: Addresses { websocket, tcp, udp }, operator: operator.unwrap() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A metric, summed over all series that carry these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let mut answer = ureq::get(format!("{}/metrics", self.operator)).call().unwrap();
        super::sum_of_series(&answer.body_mut().read_to_string().unwrap(), name, labels).unwrap_or(0.0)
    }

    /// The next line it prints.
    pub(crate) fn next_line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Has it read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The exit code, once it has ended.
    pub(crate) async fn code(&mut self) -> Option<i32> {
        super::within("the server to end", self.ended()).await
    }

    /// The same, however long it takes.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with none of the settings of whoever runs the tests.
pub(crate) fn stentor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STENTOR_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    stentor().args(args).output().unwrap()
}
