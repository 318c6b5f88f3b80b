//! A close by the server: its code, its reason, and what follows from them.

use std::fmt;

/// The code and reason of a close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// As `docs/clients.md` lists them; 1005 where none was given.
    pub code: u16,
    /// The server's words; often empty.
    pub reason: String,
}

impl Closed {
    /// True exactly when nothing went wrong: 1000, or a close that carries no code.
    pub fn is_normal(&self) -> bool {
        matches!(self.code, 1000 | 1005)
    }

    /// True exactly when coming back by itself is not wanted, or would end alike.
    pub fn is_final(&self) -> bool {
        matches!(self.code, 1000 | 1002 | 1003 | 1005 | 1007 | 1009 | 4500..=4999)
    }

    /// What to do next.
    pub(super) fn advice(&self) -> &'static str {
        match self.code {
            1009 => "send smaller messages or raise the server's limit",
            1002 | 1003 | 1007 | 4501 => "client and server disagree on the protocol: compare their versions",
            4001 => "read faster, subscribe to less, or resume with --since",
            4002 => "run it again without --since",
            4500 => "a token is needed: add ?token=… to the URL",
            4502 => "ask for a token that covers this topic",
            4503 => "use less of what the reason names, or raise the server's limit",
            4504 => "another client took this identity over",
            4505..=4999 => "running it again will not help",
            _ => "run it again",
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.reason.is_empty() { "" } else { " " };
        write!(f, "{}{gap}{}", self.code, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_stay_away_does() {
        let is_final = |code| Closed { code, reason: String::new() }.is_final();
        assert!([1000, 1002, 1003, 1007, 1009, 4500, 4503, 4504, 4999].into_iter().all(is_final));
        assert!(![1001, 1006, 1011, 1012, 1013, 4000, 4001, 4003, 4499, 5000].into_iter().any(is_final));
    }
}
