//! What to send and to how many, as it was typed and as it is meant.

use super::args::{LoadArgs, SpreadArgs};
use super::at_least;
use crate::limits::{
    FRAMES_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, SATURATING_WINDOW, SUBSCRIPTIONS_MAX, TOPICS_MAX,
    WINDOW_MAX,
};
use crate::scenario::fanout::{Amount, Fanout, Slowness, Tempo};
use crate::topics::{Choice, TopicPlan};

pub(super) const ONE_CONNS: &str = "--conns takes a list only with knee";

/// One topic, with a rate or a window.
pub(super) fn load(args: LoadArgs, messages: Option<u64>) -> Result<Fanout, String> {
    let &[connections] = args.conns.as_slice() else {
        return Err(ONE_CONNS.to_owned());
    };
    at_least("conns", connections >= 1, "must be at least 1")?;
    let rate_per_s = args.rate.unwrap_or(100.0);
    at_least("rate", rate_per_s.is_finite() && rate_per_s > 0.0, "must be above 0")?;
    let window_rule = format!("must be between 1 and {WINDOW_MAX}");
    at_least("window", args.window.is_none_or(|window| (1..=WINDOW_MAX).contains(&window)), &window_rule)?;
    let (measured_s, warmup_s) = (args.secs.unwrap_or(10.0), args.warmup.unwrap_or(1.0));
    at_least("secs", measured_s.is_finite() && measured_s > 0.0, "must be above 0")?;
    at_least("warmup", warmup_s.is_finite() && warmup_s >= 0.0, "must be 0 or more")?;
    at_least("messages", messages != Some(0), "must be at least 1")?;
    at_least("threads", (1..=connections).contains(&args.threads), "must be between 1 and --conns")?;
    let size_rule = format!("must be between {PAYLOAD_BYTES_MIN} and {PAYLOAD_BYTES_MAX}");
    at_least("size", (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&args.size), &size_rule)?;
    let topic_ok = (1..=200).contains(&args.topic.len())
        && !args.topic.chars().any(|c| c.is_control() || c == ' ')
        && !args.topic.ends_with('*');
    at_least(
        "topic",
        topic_ok,
        "must be 1 to 200 bytes without spaces and control characters, and no pattern",
    )?;
    let amount = match messages {
        Some(messages) => Amount::Messages(messages),
        None => Amount::Timed { warmup_s, measured_s },
    };
    let fanout = Fanout {
        topics: TopicPlan::one(&args.topic),
        connections,
        tempo: args.window.map_or(Tempo::Rate(rate_per_s), Tempo::Window),
        payload_bytes: args.size,
        amount,
        threads: args.threads,
        slow: Slowness::default(),
        others: 0,
        bound_ms: None,
    };
    if fanout.messages() > u64::from(u32::MAX) {
        return Err("more than 4,294,967,295 messages: lower --rate, --secs or --messages".to_owned());
    }
    Ok(fanout)
}

/// Many topics.
pub(super) fn topics(args: SpreadArgs, load_args: LoadArgs, messages: Option<u64>) -> Result<Fanout, String> {
    let (count, per_connection, base) = (args.topics, args.topics_per_conn, load_args.topic.clone());
    at_least("topics", (2..=TOPICS_MAX).contains(&count), &format!("must be between 2 and {TOPICS_MAX}"))?;
    at_least("topics-per-conn", (1..=count).contains(&per_connection), "must be between 1 and --topics")?;
    at_least("zipf", (0.0..=10.0).contains(&args.zipf), "must be between 0 and 10")?;
    at_least("topic", base.len() <= 190, "must leave room for the number of the topic (190 bytes)")?;
    let mut fanout = load(load_args, messages)?;
    if fanout.connections.saturating_mul(per_connection) > SUBSCRIPTIONS_MAX {
        return Err(format!(
            "more than {SUBSCRIPTIONS_MAX} subscriptions: lower --conns or --topics-per-conn"
        ));
    }
    if count.saturating_mul(fanout.payload_bytes) > FRAMES_BYTES_MAX {
        return Err(format!("--topics times --size is above {FRAMES_BYTES_MAX} bytes: lower one of them"));
    }
    let choice = if args.uniform { Choice::Uniform } else { Choice::Zipf(args.zipf) };
    fanout.topics = TopicPlan { count, per_connection, choice, ..TopicPlan::one(&base) };
    if args.saturate {
        fanout.tempo = Tempo::Window(SATURATING_WINDOW);
    }
    Ok(fanout)
}
