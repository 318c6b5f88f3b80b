//! The result of `connections`: what stands, what it costs, and what a million would need by these figures.
//!
//! Contract: pure. The names and the shape of the JSON are stable; what could not be measured is null. The million is computed,
//! not measured, and says so in its name.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::limits::{CONNECTIONS_PER_SOURCE, DESCRIPTORS_SPARE};
use crate::report::thousands;
use crate::scenario::connections::Memory;
use crate::table::or_dash;
use crate::target::Target;
use crate::timeline::Timeline;

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionsReport {
    pub(crate) scenario: &'static str,
    pub(crate) url: String,
    pub(crate) receiver_threads: u64,
    #[serde(flatten)]
    pub(crate) connections: Connections,
    pub(crate) memory_before: Memory,
    pub(crate) memory_idle: Memory,
    pub(crate) memory_end: Memory,
    /// Of the idle ones; null where nothing was opened, too.
    pub(crate) bytes_per_connection: PerConnection,
    pub(crate) computed_for_a_million: Million,
    /// From the first connection on.
    pub(crate) timeline: Timeline,
}

/// What came of the connections.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Connections {
    pub(crate) wanted: u64,
    pub(crate) opened: u64,
    /// The limit that stopped the opening. Null where all were opened.
    pub(crate) stopped_by: Option<String>,
    pub(crate) connect_s: f64,
    pub(crate) held_s: f64,
    pub(crate) closed: u64,
    pub(crate) closed_by_code: BTreeMap<String, u64>,
    pub(crate) first_close_reason: Option<String>,
    /// Subscribers that got the message,
    pub(crate) reached: u64,
    /// and those connected that did not.
    pub(crate) missing: u64,
    /// True exactly when that is no failure: datagrams may be lost.
    pub(crate) may_lose: bool,
    pub(crate) duplicates: u64,
    /// From the intended time of the message until the last got it.
    pub(crate) last_reached_ms: Option<f64>,
}

/// Growth of memory, divided by the connections.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct PerConnection {
    pub(crate) server: Option<f64>,
    /// Of the generator.
    pub(crate) own: Option<f64>,
    /// For both ends of each connection where the server is on this machine.
    pub(crate) kernel: Option<f64>,
}

/// A million times that.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Million {
    pub(crate) server_mib: Option<f64>,
    pub(crate) own_mib: Option<f64>,
    pub(crate) kernel_mib: Option<f64>,
    /// In each of the two processes.
    pub(crate) descriptors: u64,
    /// Addresses that the generator connects from, towards one port of the server.
    pub(crate) source_addresses: u64,
    pub(crate) connect_s: Option<f64>,
}

const MILLION: u64 = 1_000_000;

impl ConnectionsReport {
    /// With the memory before, with all idle, and behind the message.
    pub(crate) fn new(
        target: &Target,
        threads: usize,
        connections: Connections,
        before: Memory,
        idle: Memory,
        end: Memory,
    ) -> Self {
        let opened = connections.opened;
        let each = |of: fn(&Memory) -> Option<u64>| {
            let grown = of(&idle)? as f64 - of(&before)? as f64;
            (opened > 0).then(|| grown / opened as f64)
        };
        let per = PerConnection {
            server: each(|memory| memory.server_bytes),
            own: each(|memory| memory.own_bytes),
            kernel: each(|memory| Some(memory.slab_bytes? + memory.tcp_bytes?)),
        };
        let mib = |bytes: Option<f64>| bytes.map(|bytes| bytes * MILLION as f64 / f64::from(1 << 20));
        let million = Million {
            server_mib: mib(per.server),
            own_mib: mib(per.own),
            kernel_mib: mib(per.kernel),
            descriptors: MILLION + DESCRIPTORS_SPARE,
            source_addresses: MILLION.div_ceil(CONNECTIONS_PER_SOURCE as u64),
            connect_s: (opened > 0).then(|| connections.connect_s / opened as f64 * MILLION as f64),
        };
        Self {
            scenario: "connections",
            url: target.to_string(),
            receiver_threads: threads as u64,
            connections,
            memory_before: before,
            memory_idle: idle,
            memory_end: end,
            bytes_per_connection: per,
            computed_for_a_million: million,
            timeline: Timeline::default(),
        }
    }

    /// As people read it.
    pub(crate) fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header([self.scenario, self.url.as_str()]);
        for (name, value) in self.rows() {
            table.add_row([name, value.as_str()]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    /// The name of each figure, and the figure.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let mut row = |name, value| rows.push((name, value));
        let had = &self.connections;
        row(
            "opened",
            format!("{} of {} in {:.2} s", thousands(had.opened), thousands(had.wanted), had.connect_s),
        );
        row("stopped by", or_dash(had.stopped_by.clone()));
        row("closed by the server", thousands(had.closed));
        row(
            "reached by one message",
            format!("{} ({} missing)", thousands(had.reached), thousands(had.missing)),
        );
        row("the last of them after", or_dash(had.last_reached_ms.map(|ms| format!("{ms:.1} ms"))));
        let bytes = |bytes: Option<f64>| or_dash(bytes.map(|bytes| format!("{bytes:.0} bytes")));
        row("server's memory per connection", bytes(self.bytes_per_connection.server));
        row("generator's", bytes(self.bytes_per_connection.own));
        row("kernel's, both ends", bytes(self.bytes_per_connection.kernel));
        let million = &self.computed_for_a_million;
        let mib = |mib: Option<f64>| or_dash(mib.map(|mib| format!("{mib:.0} MiB")));
        row("a million, computed: server", mib(million.server_mib));
        row("generator", mib(million.own_mib));
        row("kernel", mib(million.kernel_mib));
        row("descriptors in each process", thousands(million.descriptors));
        row("source addresses", thousands(million.source_addresses));
        row("time to connect", or_dash(million.connect_s.map(|seconds| format!("{seconds:.0} s"))));
        rows
    }

    /// What did not hold. A limit that was met is a result, not a failure.
    pub(crate) fn failure(&self) -> Option<String> {
        let had = &self.connections;
        let why =
            had.stopped_by.as_deref().or(had.first_close_reason.as_deref()).unwrap_or("no reason given");
        let lost = if had.may_lose { 0 } else { had.missing };
        if had.opened == 0 {
            Some(format!("not one connection could be opened: {why}"))
        } else if had.closed + lost + had.duplicates > 0 {
            let counts = [had.missing, had.duplicates, had.closed].map(thousands);
            let [missing, duplicates, closed] = counts;
            Some(format!(
                "verification failed: {missing} missing, {duplicates} duplicated, {closed} connections closed ({why})"
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::stentor;

    fn report(connections: Connections) -> ConnectionsReport {
        let memory = |server, slab| Memory {
            server_bytes: Some(server),
            own_bytes: None,
            slab_bytes: Some(slab),
            tcp_bytes: Some(0),
        };
        let (before, idle) = (memory(1_000_000, 0), memory(2_048_576, 4_000_000));
        ConnectionsReport::new(&stentor("ws://h"), 1, connections, before, idle, idle)
    }

    #[test]
    fn a_million_is_computed_from_what_was_measured() {
        let had = Connections {
            wanted: 2_000,
            opened: 1_000,
            connect_s: 0.5,
            reached: 1_000,
            ..Connections::default()
        };
        let report = report(had);
        assert_eq!(report.bytes_per_connection.server, Some(1_048.576));
        let million = report.computed_for_a_million;
        assert_eq!(
            (million.server_mib, million.own_mib, million.connect_s),
            (Some(1_000.0), None, Some(500.0))
        );
        assert_eq!((million.descriptors, million.source_addresses), (1_000_064, 200));
        assert!(report.failure().is_none() && report.render().contains("1000 MiB"));
    }

    #[test]
    fn a_limit_is_a_result_and_a_loss_is_a_failure() {
        let limit = Some("too many".to_owned());
        let had = Connections { opened: 5, reached: 5, stopped_by: limit.clone(), ..Connections::default() };
        assert_eq!(report(had.clone()).failure(), None);
        assert!(report(Connections { missing: 1, ..had.clone() }).failure().unwrap().contains("1 missing"));
        assert_eq!(report(Connections { missing: 1, may_lose: true, ..had.clone() }).failure(), None);
        assert!(report(Connections { opened: 0, ..had }).failure().unwrap().contains("too many"));
    }
}
