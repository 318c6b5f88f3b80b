//! A failure is the one line a command ends with and the exit code that goes with it.
//!
//! Contract: every message says what happened and what to do next, in one line, without the program's name (`main` puts
//! that before it). Exit codes: 1 when the command was understood and could not be carried out, 2 when it was not understood.
//! Remarks that end nothing go through [`remark`], also on standard error, so that standard output holds data only.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use stentor::client::ClientError;

/// Why a command ended, as the person who typed it should read it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// The command line itself is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// The command was right and did not succeed: exit code 1.
    pub(crate) fn run(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Part of a message may come from a server (a close reason, a body): one line stays one line.
        f.write_str(&printable(&self.message))
    }
}

impl std::error::Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        if matches!(error, ClientError::Usage(_)) { Self::usage(message) } else { Self::run(message) }
    }
}

/// What the server refused of what was published, which it says message by message and without closing.
#[derive(Default, Debug)]
pub(crate) struct Refusals {
    count: u64,
    first: String,
}

impl Refusals {
    /// Takes in what the server said. `show` gets the first refusal, and every other event (a shutdown notice) as it came.
    pub(crate) fn hear(&mut self, text: &str, show: impl FnOnce(&str)) {
        #[derive(serde::Deserialize)]
        struct Event {
            event: String,
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        match serde_json::from_str::<Event>(text) {
            Ok(Event { event, code, message }) if event == "error" => {
                self.count += 1;
                if self.count == 1 {
                    self.first = format!("{code}: {message}");
                    show(&format!("refused: {}", self.first));
                }
            }
            Ok(_) => show(text),
            // Data: a server may have this client subscribed to messages addressed to it.
            Err(_) => {}
        }
    }

    /// How many of the `sent` messages were not refused.
    pub(crate) fn accepted(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.count)
    }

    /// Fails if any of the `sent` messages was refused.
    pub(crate) fn outcome(&self, sent: u64) -> Result<(), Failure> {
        if self.count == 0 {
            return Ok(());
        }
        Err(Failure::run(format!(
            "the server refused {} of {sent} messages (the first with {}); check what this client may publish",
            self.count, self.first
        )))
    }
}

/// Says something in passing: one line on standard error, dimmed on a terminal.
pub(crate) fn remark(text: &str) {
    let text = printable(text);
    // A closed standard error is no reason to stop, and `eprintln!` would panic.
    let _ = if colour(&io::stderr()) {
        writeln!(io::stderr(), "\x1b[2m{text}\x1b[0m")
    } else {
        writeln!(io::stderr(), "{text}")
    };
}

/// True exactly when `stream` is a terminal and `NO_COLOR` is unset or empty (<https://no-color.org>).
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` with control characters escaped: what a publisher wrote must neither break a line nor steer the terminal.
pub(crate) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    // Most of what is printed is this, and need not be decoded to be seen as that.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.chars().any(char::is_control) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_exit_code() {
        let failure = Failure::run("refused: a\nb \x1b[31m");
        assert_eq!(failure.to_string(), "refused: a\\nb \\u{1b}[31m");
        assert_eq!((failure.code(), Failure::usage("").code()), (1, 2));
    }

    #[test]
    fn refusals_are_counted_and_the_first_is_shown() {
        let mut refusals = Refusals::default();
        let mut shown = Vec::new();
        let said = [
            r#"{"event":"notice","code":"shutdown"}"#,
            r#"{"event":"error","id":7,"code":"a","message":"b"}"#,
            r#"{"event":"error","code":"c","message":"d"}"#,
            "data",
        ];
        assert_eq!(refusals.outcome(3), Ok(()));
        for text in said {
            refusals.hear(text, |line| shown.push(line.to_owned()));
        }
        assert_eq!(shown, [said[0], "refused: a: b"]);
        let line = refusals.outcome(3).unwrap_err().to_string();
        assert!(line.contains("2 of 3") && line.contains("a: b"), "{line}");
    }
}
