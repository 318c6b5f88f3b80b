//! Where a run is: a bar on a terminal, one line per phase in a pipe; always on standard error.
//!
//! Contract: no colour in either, so NO_COLOR changes nothing.

use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::thousands;

/// How often a phase should tell how far it is.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Of the whole run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    terminal: bool,
    quiet: bool,
}

/// Of one phase.
#[derive(Debug)]
pub(crate) struct Phase {
    name: &'static str,
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// Looks whether standard error is a terminal.
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), quiet: false }
    }

    /// The same without phases, for runs of which there are many.
    pub(crate) fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Says which part of a longer run begins.
    pub(crate) fn part(self, name: &str) {
        eprintln!("-- {name}");
    }

    /// Begins a phase that counts to `total`.
    pub(crate) fn phase(self, name: &'static str, total: u64) -> Phase {
        let bar = (self.terminal && !self.quiet).then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{prefix:>8} {bar:40} {pos}/{len}") {
                bar.set_style(style);
            }
            bar.set_prefix(name);
            bar
        });
        Phase { name, bar, quiet: self.quiet }
    }
}

impl Phase {
    /// How far it is.
    pub(crate) fn at(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// Waits for `work`, and looks every now and then how far it is.
    pub(crate) async fn during<T>(&self, position: impl Fn() -> u64, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(TICK) => self.at(position()),
            }
        }
    }

    /// Ends the phase with what came of it.
    pub(crate) fn done(self, seconds: f64, count: u64, what: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.quiet {
            eprintln!("{:>8}: {} {what} in {seconds:.2} s", self.name, thousands(count));
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
