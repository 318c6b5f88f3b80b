//! The knees of several servers, as one table.
//!
//! Contract: pure. Each cell keeps its whole search.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::knee_report::{KneeReport, Limit};
use crate::report::thousands;

/// All searches.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ContestReport {
    pub(crate) scenario: &'static str,
    /// In the order of the table's rows.
    pub(crate) cells: Vec<Cell>,
}

/// One server, one number of subscribers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) server: &'static str,
    pub(crate) knee: KneeReport,
}

impl ContestReport {
    /// A row for each number of subscribers, a column for each server.
    pub(crate) fn render(&self) -> String {
        let (head, rows) = self.rows();
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(head);
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let marked = self.cells.iter().any(|cell| cell.knee.limited_by == Some(Limit::Generator));
        let note = if marked {
            "\n>= the generator was the limit, or others on the machine, not the server"
        } else {
            ""
        };
        format!("highest rate held, messages/s\n{table}{note}")
    }

    /// The same without borders: the head, and the rows below it.
    pub(crate) fn rows(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut head = vec!["subscribers".to_owned(), "p99 within".to_owned()];
        let mut rows: Vec<Vec<String>> = Vec::new();
        for cell in &self.cells {
            if !head.iter().any(|name| name == cell.server) {
                head.push(cell.server.to_owned());
            }
            let first = [thousands(cell.knee.connections), format!("{} ms", cell.knee.bound_ms)];
            // The cells of a row follow each other.
            match rows.last_mut() {
                Some(row) if row[..2] == first => row.push(cell.shown()),
                _ => rows.push(first.into_iter().chain([cell.shown()]).collect()),
            }
        }
        (head, rows)
    }

    /// The exit code's reason: nothing held anywhere.
    pub(crate) fn failure(&self) -> Option<String> {
        let none = self.cells.iter().all(|cell| cell.knee.held_per_s.is_none());
        none.then(|| self.cells.first()?.knee.failure()).flatten()
    }
}

impl Cell {
    fn shown(&self) -> String {
        let limited = if self.knee.limited_by == Some(Limit::Generator) { ">= " } else { "" };
        self.knee
            .held_per_s
            .map_or_else(|| "-".to_owned(), |rate| format!("{limited}{}", thousands(rate as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(server: &'static str, connections: u64, held_per_s: Option<f64>, limit: Limit) -> Cell {
        let knee = KneeReport {
            scenario: "knee",
            url: String::new(),
            connections,
            payload_bytes: 64,
            bound_ms: 10.0,
            held_per_s,
            failed_per_s: None,
            limited_by: Some(limit),
            failed_reason: None,
            steps: Vec::new(),
        };
        Cell { server, knee }
    }

    #[test]
    fn rows_are_subscribers_and_columns_are_servers() {
        let cells = vec![
            cell("server", 100, Some(12_345.6), Limit::Latency),
            cell("nats", 100, Some(7.0), Limit::Generator),
            cell("server", 1_000, None, Limit::Verification),
            cell("nats", 1_000, Some(3.0), Limit::Latency),
        ];
        let report = ContestReport { scenario: "knee", cells };
        let table = report.render();
        let row = |starts: &str| {
            let line = table.lines().find(|line| line.contains(starts)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("subscribers"), "│ subscribers p99 within server nats │");
        assert_eq!(row(" 100 "), "│ 100 10 ms 12,345 >= 7 │");
        assert_eq!(row(" 1,000 "), "│ 1,000 10 ms - 3 │");
        assert!(table.contains("the generator was the limit") && report.failure().is_none());
    }
}
