//! A report as people read it.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use crate::report::{Report, ServerCost, thousands};
use crate::slow_figures::SlowFigures;
use crate::soak_figures::Sample;
use crate::storm_figures::StormFigures;

/// One row a figure; the run it is compared with stands above it.
pub(crate) fn render(report: &Report) -> String {
    runs(report).into_iter().map(|(_, run)| one(run)).collect::<Vec<_>>().join("\n")
}

/// Every run of a result by name, in the order in which they were made.
pub(crate) fn runs(report: &Report) -> Vec<(&'static str, &Report)> {
    let floor = report.against_floor.as_ref().map(|against| ("floor", &*against.floor));
    let without = report.slow.as_ref().and_then(|slow| slow.without.as_deref());
    let own = if report.slow.is_some() { "with slow ones" } else { "server" };
    let before = floor.into_iter().chain(without.map(|run| ("without slow ones", run)));
    before.chain([(own, report)]).collect()
}

fn one(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([report.scenario, report.url.as_str()]);
    table.add_rows(rows(report).into_iter().map(|(name, value)| [name, value]));
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The figures of one run, by name.
pub(crate) fn rows(report: &Report) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("connections", format!("{} (opened in {:.2} s)", thousands(report.connections), report.connect_s));
    row("published", format!("{} of {} bytes", thousands(report.published), thousands(report.payload_bytes)));
    if report.topics > 1 {
        row(
            "topics",
            format!("{} ({} a connection)", thousands(report.topics), report.topics_per_connection),
        );
    }
    let intended = report.intended_per_s.map_or(String::new(), |per_s| format!(" of {per_s:.1}"));
    row("rate", format!("{:.1}{intended} messages/s", report.published_per_s));
    if let Some(window) = report.window {
        row("under way", format!("{} messages ({} stalls)", thousands(window), report.window_stalls));
    }
    row("deliveries", thousands(report.deliveries));
    row("deliveries/s", thousands(report.deliveries_per_s.round() as u64));
    row("MB/s", format!("{:.1}", report.mb_per_s));
    let latency = &report.latency_us;
    for (name, value) in [
        ("latency p50", latency.p50),
        ("latency p90", latency.p90),
        ("latency p99", latency.p99),
        ("latency p99.9", latency.p999),
        ("latency max", latency.max),
    ] {
        row(name, or_dash(value.map(|us| format!("{:.3} ms", us as f64 / 1e3))));
    }
    row("gaps", thousands(report.gaps));
    row("duplicates", thousands(report.duplicates));
    row("reordered", thousands(report.reordered));
    row("missing", report.loss().unwrap_or_else(|| thousands(report.missing)));
    row("closed", closed(&report.closed_by_code, report.first_close_reason.as_deref()));
    if report.unstamped > 0 {
        row("messages without a stamp", thousands(report.unstamped));
    }
    row("publisher's lag, max", format!("{:.3} ms", report.publish_lag_ms_max));
    row("of which its own", format!("{:.3} ms", report.publish_lag_own_ms_max));
    row("generator's cores", or_dash(report.loadgen_cores.map(|cores| format!("{cores:.2}"))));
    row("other guests' cores", or_dash(report.stolen_cores.map(|cores| format!("{cores:.2}"))));
    if let Some(server) = &report.server {
        server_rows(server, &mut row);
    }
    let kernel = [report.kernel.tcp_bytes_before, report.kernel.tcp_bytes_idle, report.kernel.tcp_bytes_end];
    if kernel.iter().any(Option::is_some) {
        let kib = kernel.map(|bytes| or_dash(bytes.map(|bytes| thousands(bytes / 1024))));
        row("kernel's TCP buffers", format!("{} KiB (before, idle, end)", kib.join(", ")));
    }
    if let Some(counts) = &report.server_counts {
        row("server counts delivered", thousands(counts.delivered));
        row("abandoned", thousands(counts.abandoned));
        if counts.skipped > 0 {
            row("left out by the server", thousands(counts.skipped));
        }
        row("frames per write", or_dash(counts.frames_per_write.map(|frames| format!("{frames:.2}"))));
    }
    if let Some(slow) = &report.slow {
        slow_rows(slow, &mut row);
    }
    if let Some(storm) = &report.storm {
        storm_rows(storm, &mut row);
    }
    if let Some(churn) = &report.churn {
        row("churning connections", format!("{} ({} broken)", thousands(churn.connections), churn.broken));
        row("subscribed and unsubscribed", format!("{} times", thousands(churn.found.cycles)));
        row("messages to them", thousands(churn.found.received));
        let faults = [churn.found.missing, churn.found.misplaced, churn.found.stray].map(thousands);
        row("missing, misplaced, stray", faults.join(", "));
    }
    if let Some(soak) = &report.soak {
        let memory = |sample: Option<&Sample>| {
            or_dash(
                sample.and_then(|sample| Some(format!("{} KiB", thousands(sample.resident_bytes? / 1024)))),
            )
        };
        let (first, last) = (memory(soak.samples.first()), memory(soak.samples.last()));
        row("memory after each round", format!("{first} ... {last} ({} rounds)", soak.samples.len()));
        let verdict = if soak.judged { "no" } else { "too short to tell" };
        row("memory or descriptors grew", soak.grown.clone().unwrap_or_else(|| verdict.to_owned()));
    }
    if let Some(against) = &report.against_floor {
        row("CPU per delivery, by the floor's", times(against.cpu_per_delivery_ratio));
        row("p50, by the floor's", times(against.p50_ratio));
        row("p99, by the floor's", times(against.p99_ratio));
    }
    row("valid", report.invalid_reason.clone().map_or("yes".into(), |reason| format!("NO: {reason}")));
    rows
}

fn server_rows(server: &ServerCost, row: &mut impl FnMut(&str, String)) {
    row("server's CPU per delivery", or_dash(server.cpu_us_per_delivery.map(|us| format!("{us:.3} us"))));
    row("server's CPU per connect", or_dash(server.cpu_us_per_connect.map(|us| format!("{us:.1} us"))));
    row("server's cores", or_dash(server.cores.map(|cores| format!("{cores:.2}"))));
    for (name, value) in [
        ("server's memory, before", server.resident_bytes_before),
        ("with idle connections", server.resident_bytes_idle),
        ("at the end", server.resident_bytes_end),
        ("at the peak", server.resident_bytes_peak),
    ] {
        row(name, or_dash(value.map(|bytes| format!("{} KiB", thousands(bytes / 1024)))));
    }
    let per_connection = server.bytes_per_idle_connection.map(|bytes| format!("{bytes:.0} bytes"));
    row("per idle connection", or_dash(per_connection));
}

fn slow_rows(slow: &SlowFigures, row: &mut impl FnMut(&str, String)) {
    row("slow ones", format!("{} stalled, {} trickling", thousands(slow.stalled), thousands(slow.trickling)));
    row("slow ones closed", closed(&slow.closed_by_code, slow.first_close_reason.as_deref()));
    row("trickling ones among them", thousands(slow.trickling_closed));
    if let Some(backlog) = &slow.backlog {
        let queued = format!("with {} KiB", thousands(backlog.queued_bytes_max / 1024));
        row("behind a full socket, at most", format!("{} {queued}", thousands(backlog.blocked_max)));
    }
    row("slow ones behind by", format!("{} messages", thousands(slow.behind)));
    let holes = [slow.gaps, slow.duplicates, slow.reordered].map(thousands);
    row("their gaps, duplicates, reordered", holes.join(", "));
    let ms = |us: Option<u64>| or_dash(us.map(|us| format!("{:.1}", us as f64 / 1e3)));
    for round in &slow.rounds {
        let p99s = format!("{} and {} ms", ms(round.without_p99_us), ms(round.with_p99_us));
        row("p99 without and with slow ones", p99s);
    }
    row("p99, by that without slow ones", times(slow.p99_ratio));
}

fn storm_rows(storm: &StormFigures, row: &mut impl FnMut(&str, String)) {
    let seconds = |seconds: Option<f64>| or_dash(seconds.map(|seconds| format!("{seconds:.2} s")));
    let under_way =
        format!("{} ({} handshakes at a time)", thousands(storm.clients), thousands(storm.in_flight));
    row("clients cut off", format!("{under_way} in {:.2} s", storm.cut_s));
    row("half of them back after", seconds(storm.back_p50_s));
    row("99 % back after", seconds(storm.back_p99_s));
    row("all back after", seconds(storm.back_all_s));
    row("attempts repeated", thousands(storm.retries));
    row(
        "latency p99 in the storm",
        or_dash(storm.latency_us.p99.map(|us| format!("{:.3} ms", us as f64 / 1e3))),
    );
    row("by that before it", times(storm.p99_ratio));
}

fn closed(by_code: &BTreeMap<String, u64>, first_reason: Option<&str>) -> String {
    if by_code.is_empty() {
        return "0".to_owned();
    }
    let codes: Vec<String> =
        by_code.iter().map(|(code, count)| format!("{code}: {}", thousands(*count))).collect();
    let reason = first_reason.map_or(String::new(), |said| format!("; first: {said}"));
    format!("{} ({}{reason})", thousands(by_code.values().sum()), codes.join(", "))
}

pub(crate) fn times(ratio: Option<f64>) -> String {
    or_dash(ratio.map(|ratio| format!("x {ratio:.2}")))
}

pub(crate) fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}
