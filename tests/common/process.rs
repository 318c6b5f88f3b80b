//! The program as a child process, killed if its test fails.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// A server process on free ports.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// `ws://…`
    pub(crate) websocket: String,
    /// `http://…`
    pub(crate) operator: String,
}

impl Process {
    /// `stentor serve` or `stentor demo`, with more arguments.
    pub(crate) fn start(command: &str, more: &[&str]) -> Self {
        let mut child = stentor()
            .args([command, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |prefix: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("not an address: {line}")).to_owned()
        };
        let (websocket, operator) = (address("listening on "), address("operator on "));
        Self { child, lines, websocket, operator }
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
        super::within("the server to end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
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
