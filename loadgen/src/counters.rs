//! Stentor's own counters before and after a run, compared with what arrived.
//!
//! Contract: [`read`] asks the operator port; the rest is pure. Nobody else may use the server meanwhile. What a closed
//! connection's socket still held is lost on the way, so that with closed connections more may be delivered than arrived.

use std::time::Duration;

use serde::Serialize;

use crate::limits::{COUNTERS_SETTLE, COUNTERS_TIMEOUT, SEATS_SETTLE};
use crate::report::thousands;
use crate::target::address::Address;

/// What the server has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    published: u64,
    routed: u64,
    delivered: u64,
    abandoned: u64,
    /// Superseded or left out on purpose; a server without such classes counts none.
    conflated: u64,
    skipped: u64,
    /// Now.
    pending: u64,
    /// Writes of sweeps, and the frames in them.
    writes: u64,
    written_frames: u64,
    /// Connections now, with those that have ended and whose sockets are still to be closed.
    pub(crate) seats: u64,
    /// Connections behind a full socket now,
    pub(crate) blocked: u64,
    /// and the bytes in their queues, each frame once.
    pub(crate) queued_bytes: u64,
}

/// What happened between two readings, as the server counts it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerCounts {
    pub(crate) published: u64,
    /// Subscribers at each message's place, summed,
    pub(crate) routed: u64,
    /// of which so many were written whole,
    pub(crate) delivered: u64,
    /// so many died with their connection,
    pub(crate) abandoned: u64,
    /// and so many were superseded or left out.
    pub(crate) conflated: u64,
    pub(crate) skipped: u64,
    /// When it was read last.
    pub(crate) pending: u64,
    /// Data frames in one write. Null without a write.
    pub(crate) frames_per_write: Option<f64>,
    /// What does not agree with what arrived, or with itself.
    pub(crate) mismatch: Option<String>,
}

/// What we know ourselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) published: u64,
    /// Duplicates included, over all subscribers.
    pub(crate) deliveries: u64,
    /// Connections that ended before we took leave, or before everything was read.
    pub(crate) closed: u64,
    /// True exactly when what was delivered may be lost on the way.
    pub(crate) may_lose: bool,
}

/// Why the counters could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the server's counters at {operator}/metrics: {reason}; is --admin its operator port?")]
pub(crate) struct NoCounters {
    operator: String,
    reason: String,
}

/// Asks the operator port.
pub(crate) async fn read(operator: &Address) -> Result<Counters, NoCounters> {
    let url = format!("http://{}{}", operator.authority, operator.path("/metrics"));
    let failed = |reason: String| NoCounters { operator: operator.to_string(), reason };
    let text = tokio::task::spawn_blocking(move || fetch(&url)).await;
    let text = text.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    parse(&text).ok_or_else(|| failed("it does not tell stentor_published_total".to_owned()))
}

/// Asks until nothing is pending any more, for as long as connections may take to end.
pub(crate) async fn read_settled(operator: &Address) -> Result<Counters, NoCounters> {
    read_until(operator, COUNTERS_SETTLE, |now| now.pending == 0).await
}

/// Asks until no more than `seats` are taken, for as long as a server may take to close what has ended.
pub(crate) async fn until_vacated(operator: &Address, seats: u64) -> Result<(), NoCounters> {
    read_until(operator, SEATS_SETTLE, |now| now.seats <= seats).await.map(drop)
}

async fn read_until(
    operator: &Address,
    within: Duration,
    is_so: impl Fn(&Counters) -> bool,
) -> Result<Counters, NoCounters> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut counters = read(operator).await?;
    for _ in 0..within.as_millis() / PAUSE.as_millis() {
        if is_so(&counters) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        counters = read(operator).await?;
    }
    Ok(counters)
}

fn fetch(url: &str) -> Result<String, ureq::Error> {
    let agent = ureq::Agent::config_builder().timeout_global(Some(COUNTERS_TIMEOUT)).build().new_agent();
    agent.get(url).call()?.body_mut().read_to_string()
}

/// Sums each metric over its labels.
fn parse(text: &str) -> Option<Counters> {
    let sum = |name: &str| {
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("stentor_")?.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        });
        // Counters are whole numbers that an f64 holds exactly up to 2^53.
        values.map(|value| value as u64).reduce(|sum, value| sum + value)
    };
    Some(Counters {
        published: sum("published_total")?,
        routed: sum("routed_total").unwrap_or_default(),
        delivered: sum("delivered_total").unwrap_or_default(),
        abandoned: sum("abandoned_total").unwrap_or_default(),
        conflated: sum("conflated_total").unwrap_or_default(),
        skipped: sum("skipped_total").unwrap_or_default(),
        pending: sum("pending").unwrap_or_default(),
        writes: sum("write_frames_count").unwrap_or_default(),
        written_frames: sum("write_frames_sum").unwrap_or_default(),
        seats: sum("connections").unwrap_or_default() + sum("connections_closing").unwrap_or_default(),
        blocked: sum("connections_blocked").unwrap_or_default(),
        queued_bytes: sum("outbound_bytes").unwrap_or_default(),
    })
}

impl ServerCounts {
    /// From the reading before a run, the one after it, and what we know of it.
    pub(crate) fn between(before: Counters, after: Counters, arrived: Arrived) -> Self {
        let since = |of: fn(&Counters) -> u64| of(&after).saturating_sub(of(&before));
        let writes = since(|counters| counters.writes);
        let frames = since(|counters| counters.written_frames);
        let mut counts = Self {
            published: since(|counters| counters.published),
            routed: since(|counters| counters.routed),
            delivered: since(|counters| counters.delivered),
            abandoned: since(|counters| counters.abandoned),
            conflated: since(|counters| counters.conflated),
            skipped: since(|counters| counters.skipped),
            pending: after.pending,
            frames_per_write: (writes > 0).then(|| frames as f64 / writes as f64),
            mismatch: None,
        };
        counts.mismatch = counts.find_mismatch(before.pending, arrived);
        counts
    }

    fn find_mismatch(&self, pending_before: u64, arrived: Arrived) -> Option<String> {
        let accounted = self.delivered + self.abandoned + self.conflated + self.skipped + self.pending;
        let [published, routed, delivered] = [self.published, self.routed, self.delivered].map(thousands);
        let deliveries = thousands(arrived.deliveries);
        if self.published < arrived.published {
            Some(format!("it counts {published} published, of our {}", thousands(arrived.published)))
        } else if self.routed + pending_before != accounted {
            Some(format!("it counts {routed} routed, and accounts for {}", thousands(accounted)))
        } else if self.delivered < arrived.deliveries {
            Some(format!("it counts {delivered} delivered, and {deliveries} arrived"))
        } else if self.delivered > arrived.deliveries && arrived.closed == 0 && !arrived.may_lose {
            Some(format!("it counts {delivered} delivered, of which {deliveries} arrived"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE stentor_published counter\nstentor_published_total 7\n\
        stentor_published_bytes_total 900\nstentor_routed_total{shard=\"0\"} 10\nstentor_routed_total{shard=\"1\"} 4\n\
        stentor_delivered_total{shard=\"0\"} 9\nstentor_delivered_total{shard=\"1\"} 3\nstentor_pending{shard=\"0\"} 1\n\
        stentor_pending{shard=\"1\"} 1\nstentor_write_frames_sum{shard=\"0\"} 12.0\n\
        stentor_connections_blocked{shard=\"0\"} 3\nstentor_connections{shard=\"0\"} 4\n\
        stentor_connections_closing{shard=\"0\"} 2\n\
        stentor_write_frames_count{shard=\"0\"} 4\nstentor_write_frames_bucket{le=\"1.0\",shard=\"0\"} 2\n# EOF\n";

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_taken_for_another() {
        let counters = parse(TEXT).unwrap();
        let expected = Counters {
            published: 7,
            routed: 14,
            delivered: 12,
            pending: 2,
            writes: 4,
            written_frames: 12,
            seats: 6,
            blocked: 3,
            ..Counters::default()
        };
        assert_eq!(counters, expected);
        assert_eq!(parse("nothing of ours 1"), None);
    }

    #[test]
    fn what_does_not_agree_is_told() {
        let none = Counters::default();
        let after = Counters { published: 2, routed: 20, delivered: 18, abandoned: 2, ..none };
        let arrived = Arrived { published: 2, deliveries: 18, ..Arrived::default() };
        assert_eq!(ServerCounts::between(none, after, arrived).mismatch, None);
        // Somebody else may publish; nobody else may subscribe.
        assert_eq!(ServerCounts::between(none, Counters { published: 3, ..after }, arrived).mismatch, None);
        for (after, arrived, word) in [
            (Counters { published: 1, ..after }, arrived, "published"),
            (Counters { abandoned: 1, ..after }, arrived, "accounts for 19"),
            (after, Arrived { deliveries: 19, ..arrived }, "19 arrived"),
            (after, Arrived { deliveries: 17, ..arrived }, "17 arrived"),
        ] {
            let mismatch = ServerCounts::between(none, after, arrived).mismatch.unwrap();
            assert!(mismatch.contains(word), "{mismatch}");
        }
        let lost_with_its_connection = Arrived { deliveries: 17, closed: 1, ..arrived };
        assert_eq!(ServerCounts::between(none, after, lost_with_its_connection).mismatch, None);
        let lost_on_the_way = Arrived { deliveries: 17, may_lose: true, ..arrived };
        assert_eq!(ServerCounts::between(none, after, lost_on_the_way).mismatch, None);
    }
}
