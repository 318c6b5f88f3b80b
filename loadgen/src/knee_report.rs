//! The result of a search for the knee: its steps, and the highest rate that held.
//!
//! Contract: pure. The names and the shape of the JSON are stable; what a step could not measure is null.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::knee::Search;
use crate::report::{Latency, Report, stolen, thousands};
use crate::scenario::fanout::RunError;
use crate::scenario::knee::Knee;
use crate::table::or_dash;
use crate::target::Target;

/// The whole search.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KneeReport {
    pub(crate) scenario: &'static str,
    pub(crate) url: String,
    pub(crate) connections: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) bound_ms: f64,
    /// The highest rate at which everything held. Null when none did.
    pub(crate) held_per_s: Option<f64>,
    /// The lowest at which something did not. Null when all did.
    pub(crate) failed_per_s: Option<f64>,
    /// What did not hold there,
    pub(crate) limited_by: Option<Limit>,
    /// in words.
    pub(crate) failed_reason: Option<String>,
    /// In the order in which they were tried.
    pub(crate) steps: Vec<Step>,
}

/// What a step did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The server lost something, or ended a connection.
    Verification,
    /// The generator was the bottleneck, or others had the machine: the server may hold more.
    Generator,
    /// The bound.
    Latency,
}

/// One rate, tried once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) intended_per_s: f64,
    /// True exactly when the run was verified and valid, with p99 within the bound.
    pub(crate) held: bool,
    /// What did not hold; null where all did.
    pub(crate) limited_by: Option<Limit>,
    pub(crate) reason: Option<String>,
    pub(crate) published_per_s: Option<f64>,
    pub(crate) deliveries_per_s: Option<f64>,
    pub(crate) latency_us: Latency,
    /// As in the report of a run.
    pub(crate) latency_curve_ms: Vec<(f64, f64)>,
    pub(crate) cpu_us_per_delivery: Option<f64>,
    pub(crate) stolen_cores: Option<f64>,
}

impl Step {
    /// A run that came to its end. With `busy_ok` threads of ours that were short of a core do not spoil a p99 within the bound of
    /// messages that were all sent: they can only have made it worse.
    pub(crate) fn of(report: &Report, intended_per_s: f64, bound_ms: f64, busy_ok: bool) -> Self {
        let p99_ms = report.latency_us.p99.map(|us| us as f64 / 1e3);
        let within = p99_ms.is_some_and(|p99_ms| p99_ms <= bound_ms);
        let usable = report.valid || (busy_ok && within && report.unsent == 0);
        let (limited_by, reason) = match p99_ms {
            _ if !report.verified => (Some(Limit::Verification), report.failure()),
            // A rate at which datagrams are lost is not held, though they may be.
            _ if report.missing > 0 => (Some(Limit::Verification), report.loss()),
            Some(_) if usable && within => (None, None),
            _ if stolen(report.stolen_cores).is_some() => {
                (Some(Limit::Generator), stolen(report.stolen_cores))
            }
            _ if !usable => (Some(Limit::Generator), report.invalid_reason.clone()),
            Some(_) => (Some(Limit::Latency), Some("p99 is above the bound".to_owned())),
            None => (Some(Limit::Generator), Some("nothing was measured: use a longer --secs".to_owned())),
        };
        Self {
            intended_per_s,
            held: limited_by.is_none(),
            limited_by,
            reason,
            published_per_s: Some(report.published_per_s),
            deliveries_per_s: Some(report.deliveries_per_s),
            latency_us: report.latency_us,
            latency_curve_ms: report.latency_curve_ms.clone(),
            cpu_us_per_delivery: report.server.and_then(|server| server.cpu_us_per_delivery),
            stolen_cores: report.stolen_cores,
        }
    }

    /// A run that did not.
    pub(crate) fn failed(intended_per_s: f64, error: &RunError) -> Self {
        let (limit, stolen_cores, reason) = match error {
            RunError::Hopeless { busy, stolen_cores, .. } => {
                match stolen(*stolen_cores).as_ref().or(busy.as_ref()) {
                    Some(why) => (Limit::Generator, *stolen_cores, format!("{error}; {why}")),
                    None => (Limit::Latency, *stolen_cores, error.to_string()),
                }
            }
            _ => (Limit::Verification, None, error.to_string()),
        };
        Self {
            intended_per_s,
            held: false,
            limited_by: Some(limit),
            reason: Some(reason),
            published_per_s: None,
            deliveries_per_s: None,
            latency_us: Latency::default(),
            latency_curve_ms: Vec::new(),
            cpu_us_per_delivery: None,
            stolen_cores,
        }
    }

    /// Did not hold, and says nothing of the server.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.limited_by == Some(Limit::Generator) && stolen(self.stolen_cores).is_some()
    }

    /// In one line.
    pub(crate) fn verdict(&self) -> String {
        let p99 = or_dash(self.latency_us.p99.map(ms));
        match &self.reason {
            None => format!("held, p99 {p99}"),
            Some(reason) => format!("not held, p99 {p99}: {reason}"),
        }
    }
}

impl KneeReport {
    /// From a search that has ended.
    pub(crate) fn new(target: &Target, knee: &Knee, search: &Search, steps: Vec<Step>) -> Self {
        let failed_per_s = search.failed();
        let at_failed = steps.iter().rfind(|step| Some(step.intended_per_s) == failed_per_s);
        Self {
            scenario: "knee",
            url: target.to_string(),
            connections: knee.first.connections as u64,
            payload_bytes: knee.first.payload_bytes as u64,
            bound_ms: knee.bound_ms,
            held_per_s: search.held(),
            failed_per_s,
            limited_by: at_failed.and_then(|step| step.limited_by),
            failed_reason: at_failed.and_then(|step| step.reason.clone()),
            steps,
        }
    }

    /// A row for each step, and the knee below.
    pub(crate) fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(Self::COLUMNS);
        table.add_rows(self.rows());
        for column in table.column_iter_mut().take(6) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let beyond = match (self.failed_per_s, &self.failed_reason) {
            (Some(rate), Some(reason)) => format!("\nat {rate:.1}: {reason}"),
            _ => String::new(),
        };
        format!("{}: {}\n{table}\nhighest rate held: {}{beyond}", self.url, self.what(), self.knee())
    }

    /// What was asked for.
    pub(crate) fn what(&self) -> String {
        let (connections, payload_bytes) = (thousands(self.connections), thousands(self.payload_bytes));
        format!("{connections} subscribers, {payload_bytes} bytes, p99 within {} ms", self.bound_ms)
    }

    /// The highest rate that held.
    pub(crate) fn knee(&self) -> String {
        or_dash(self.held_per_s.map(|rate| format!("{rate:.1} messages/s")))
    }

    /// The names of what [`KneeReport::rows`] gives.
    pub(crate) const COLUMNS: [&str; 7] =
        ["messages/s", "achieved", "deliveries/s", "p50", "p99", "CPU/delivery", "held"];

    /// The figures of each step.
    pub(crate) fn rows(&self) -> impl Iterator<Item = [String; 7]> {
        let rounded = |value: Option<f64>| or_dash(value.map(|value| thousands(value.round() as u64)));
        self.steps.iter().map(move |step| {
            [
                format!("{:.1}", step.intended_per_s),
                or_dash(step.published_per_s.map(|rate| format!("{rate:.1}"))),
                rounded(step.deliveries_per_s),
                or_dash(step.latency_us.p50.map(ms)),
                or_dash(step.latency_us.p99.map(ms)),
                or_dash(step.cpu_us_per_delivery.map(|us| format!("{us:.3} us"))),
                if step.held { "yes" } else { "no" }.to_owned(),
            ]
        })
    }

    /// Why the knee is not the server's, where it is not.
    pub(crate) fn invalid_reason(&self) -> Option<&str> {
        self.failed_reason.as_deref().filter(|_| self.limited_by == Some(Limit::Generator))
    }

    /// The exit code's reason: nothing held.
    pub(crate) fn failure(&self) -> Option<String> {
        let reason = self.failed_reason.as_deref().unwrap_or("no step was run");
        self.held_per_s.is_none().then(|| format!("no rate held: {reason}"))
    }
}

fn ms(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::clean;

    #[test]
    fn a_step_holds_when_verified_valid_and_within_the_bound() {
        let run = |p99| Report { latency_us: Latency { p99, ..Latency::default() }, ..clean() }.judge();
        assert!(Step::of(&run(Some(10_000)), 10.0, 10.0, false).held);
        for (report, limit, word) in [
            (run(Some(10_001)), Limit::Latency, "bound"),
            (run(None), Limit::Generator, "nothing"),
            (Report { missing: 1, ..run(Some(1)) }.judge(), Limit::Verification, "missing"),
            (Report { unsent: 1, ..run(Some(1)) }.judge(), Limit::Generator, "never sent"),
        ] {
            for busy_ok in [false, true] {
                let step = Step::of(&report, 10.0, 10.0, busy_ok);
                assert!(!step.held && step.verdict().contains(word), "{step:?}");
                assert_eq!(step.limited_by, Some(limit));
            }
        }
        let busy = |p99| Report { receiver_ran_max: Some(0.99), ..run(p99) }.judge();
        assert_eq!(Step::of(&busy(Some(1)), 10.0, 10.0, false).limited_by, Some(Limit::Generator));
        assert!(Step::of(&busy(Some(1)), 10.0, 10.0, true).held);
        let late = Report { publish_lag_own_ms_max: 99.0, ..run(Some(1)) }.judge();
        assert!(Step::of(&late, 10.0, 10.0, true).held && !Step::of(&late, 10.0, 10.0, false).held);
        // Whose fault a late one is nobody knows then.
        assert_eq!(Step::of(&busy(Some(10_001)), 10.0, 10.0, true).limited_by, Some(Limit::Generator));
        let late = |busy| RunError::Hopeless {
            late_percent: 30.0,
            behind_s: 0.5,
            after_s: 1.0,
            busy,
            stolen_cores: Some(0.01),
        };
        let step = Step::failed(5.0, &late(None));
        assert!(step.verdict().starts_with("not held, p99 -: 30 % came after the bound"));
        assert_eq!(step.limited_by, Some(Limit::Latency));
        let step = Step::failed(5.0, &late(Some("busy".into())));
        assert!(step.limited_by == Some(Limit::Generator) && !step.is_disturbed());
    }

    /// Proves: what others took excuses a p99 above the bound, and neither spoils one within nor excuses a loss.
    #[test]
    fn a_step_that_fails_while_others_have_the_machine_is_disturbed() {
        let run = |p99, stolen_cores| Report {
            latency_us: Latency { p99: Some(p99), ..Latency::default() },
            stolen_cores,
            ..clean()
        };
        let step = |report: Report| Step::of(&report.judge(), 10.0, 10.0, false);
        let disturbed = step(run(10_001, Some(0.4)));
        assert!(disturbed.is_disturbed() && disturbed.verdict().contains("took 0.40 cores"), "{disturbed:?}");
        assert!(step(run(10_000, Some(0.4))).held);
        assert!(!step(run(10_001, None)).is_disturbed() && !step(run(10_001, Some(0.01))).is_disturbed());
        let lost = step(Report { missing: 1, ..run(10_001, Some(0.4)) });
        assert!(lost.limited_by == Some(Limit::Verification) && !lost.is_disturbed());
    }
}
