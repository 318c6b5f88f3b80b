//! The scenarios with something beside the fan-out, as they were typed and as they are meant.

use std::sync::Arc;

use super::args::{ChurnArgs, ConnectionsArgs, FeedArgs, SoakArgs, StormArgs};
use super::load::{ONE_CONNS, load};
use super::peer::{no_acks, no_connections, one_topic_only, peer};
use super::{Plan, Work, at_least, planned, setting};
use crate::feed::Feed;
use crate::limits::{CHURN_CYCLES_PER_S_MAX, FEED_TOPICS_MAX};
use crate::scenario::churn::Churn;
use crate::scenario::connections::Connections;
use crate::scenario::fanout::{Amount, Fanout, Tempo};
use crate::scenario::soak::Soak;
use crate::scenario::storm::Storm;
use crate::topics::TopicPlan;

pub(super) fn storm(mut args: StormArgs) -> Result<Plan, String> {
    let setting = setting(&args.run.load)?;
    at_least("clients", args.clients >= 1, "must be at least 1")?;
    at_least("in-flight", args.in_flight >= 1, "must be at least 1")?;
    args.run.load.conns = args.served.map_or(args.run.load.conns, |served| vec![served]);
    let served = load(args.run.load, None)?;
    if let Tempo::Window(_) = served.tempo {
        return Err("--window would wait for the storm to pass: use --rate".to_owned());
    }
    let peer = peer(args.run.peer)?;
    if let Some(reason) = no_connections(&peer) {
        return Err(reason.to_owned());
    }
    planned(Work::Storm(Storm::new(served, args.clients, args.in_flight)), peer, setting)
}

pub(super) fn churn(mut args: ChurnArgs) -> Result<Plan, String> {
    let (setting, peer) = (setting(&args.run.load)?, peer(args.run.peer)?);
    if let Some(reason) = no_connections(&peer).or_else(|| no_acks(&peer)) {
        return Err(reason.to_owned());
    }
    let &[churners] = args.run.load.conns.as_slice() else { return Err(ONE_CONNS.to_owned()) };
    at_least("conns", churners >= 1, "must be at least 1")?;
    at_least("steady", args.steady >= args.run.load.threads, "must be at least --threads")?;
    let cycles_rule = format!("must be above 0 and at most {CHURN_CYCLES_PER_S_MAX}");
    at_least("cycles", args.cycles > 0.0 && args.cycles <= CHURN_CYCLES_PER_S_MAX, &cycles_rule)?;
    args.run.load.conns = vec![args.steady];
    let steady = Fanout { others: churners, ..load(args.run.load, None)? };
    planned(Work::Churn(Churn { steady, churners, cycles_per_s: args.cycles }), peer, setting)
}

pub(super) fn feed(args: FeedArgs) -> Result<Plan, String> {
    let (setting, peer) = (setting(&args.run.load)?, peer(args.run.peer)?);
    at_least("speed", args.speed.is_finite() && args.speed > 0.0, "must be above 0")?;
    let mut fanout = load(args.run.load, None)?;
    let feed = match (&args.file, &fanout.tempo, fanout.amount) {
        (Some(path), ..) => Feed::read(path, args.speed)?,
        (None, Tempo::Rate(per_s), Amount::Timed { measured_s, .. }) => {
            Feed::synthetic(per_s * args.speed, measured_s)
        }
        (None, ..) => return Err("--window has no pace of its own: use --rate".to_owned()),
    };
    if feed.topics().len() > FEED_TOPICS_MAX {
        return Err(format!(
            "the recording has more than {FEED_TOPICS_MAX} topics, which every connection would subscribe to"
        ));
    }
    if feed.len() == 0 {
        return Err("the feed has no message: use a higher --rate or a longer --secs".to_owned());
    }
    if let (Some(reason), true) = (one_topic_only(&peer), feed.topics().len() > 1) {
        return Err(reason.to_owned());
    }
    fanout.topics = TopicPlan::all(feed.topics());
    fanout.payload_bytes = feed.mean_bytes();
    fanout.amount = Amount::Messages(feed.len());
    fanout.tempo = Tempo::Feed(Arc::new(feed));
    planned(Work::Feed(fanout), peer, setting)
}

pub(super) fn soak(mut args: SoakArgs) -> Result<Plan, String> {
    let (setting, peer) = (setting(&args.run.load)?, peer(args.run.peer)?);
    if let Some(reason) = no_connections(&peer).or_else(|| no_acks(&peer)) {
        return Err(reason.to_owned());
    }
    at_least("hours", args.hours.is_none_or(|hours| hours.is_finite() && hours > 0.0), "must be above 0")?;
    args.run.load.secs = args.hours.map(|hours| hours * 3_600.0).or(args.run.load.secs);
    let steady = Fanout { others: args.churners + args.stalled, ..load(args.run.load, None)? };
    planned(Work::Soak(Soak { steady, churners: args.churners, stalled: args.stalled }), peer, setting)
}

pub(super) fn connections(args: ConnectionsArgs) -> Result<Plan, String> {
    let (setting, peer) = (setting(&args.run.load)?, peer(args.run.peer)?);
    at_least("hold", args.hold.is_finite() && args.hold >= 0.0, "must be 0 or more")?;
    at_least("window", args.run.load.window.is_none(), "has no meaning here: one message is sent")?;
    let asked = load(args.run.load, None)?;
    let connections = Connections {
        topic: asked.topics.base,
        wanted: asked.connections,
        payload_bytes: asked.payload_bytes,
        threads: asked.threads,
        hold_s: args.hold,
    };
    planned(Work::Connections(connections), peer, setting)
}
