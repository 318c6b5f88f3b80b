//! `knee` for several servers and numbers of subscribers: one search in each cell of a table.
//!
//! Contract: for each number of subscribers the searches of all servers go forward in turns, rate by rate, so that a machine that
//! gets slower or faster meanwhile does so for all. A server whose subscribers cannot be opened loses its cell, not the run.

use serde::{Serialize, Serializer};

use crate::cli::Peer;
use crate::contest_report::{Cell, ContestReport};
use crate::report::thousands;
use crate::scenario::Subject;
use crate::scenario::knee::{Hunt, Knee};

/// What is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Contest {
    /// One for each number of subscribers.
    pub(crate) knees: Vec<Knee>,
    /// Those to compare with, by the name they have in the table.
    #[serde(serialize_with = "names")]
    pub(crate) others: Vec<(&'static str, Peer)>,
}

fn names<S: Serializer>(others: &[(&'static str, Peer)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(others.iter().map(|(name, _)| name))
}

impl Contest {
    /// Searches all knees at all of `rivals`, by name.
    pub(crate) async fn run(&self, rivals: &[(&'static str, Subject<'_>)]) -> ContestReport {
        let mut cells = Vec::new();
        let total = self.knees.len() * rivals.len();
        let from_ns = rivals.iter().map(|(_, subject)| subject.clock.now_ns()).min().unwrap_or_default();
        for knee in &self.knees {
            let mut hunts: Vec<_> =
                rivals.iter().map(|(name, subject)| (*name, true, Hunt::new(knee, *subject))).collect();
            while hunts.iter().any(|(_, under_way, _)| *under_way) {
                let later = self.knees.len() - 1 - cells.len() / rivals.len();
                let searching =
                    later * rivals.len() + hunts.iter().filter(|(_, under_way, _)| *under_way).count();
                for (name, under_way, hunt) in hunts.iter_mut().filter(|(_, under_way, _)| *under_way) {
                    let (connections, found) = (thousands(knee.first.connections as u64), total - searching);
                    let elapsed_s = rivals[0].1.clock.now_ns().saturating_sub(from_ns) / 1_000_000_000;
                    let title = format!(
                        "{elapsed_s} s, {found} of {total} found: {name}, {connections} subscribers, "
                    );
                    *under_way = match hunt.advance(&title).await {
                        Ok(more) => more,
                        Err(reason) => {
                            hunt.give_up(&reason);
                            false
                        }
                    };
                }
            }
            cells.extend(hunts.into_iter().map(|(server, _, hunt)| Cell { server, knee: hunt.report() }));
        }
        ContestReport { scenario: "knee", cells }
    }
}
