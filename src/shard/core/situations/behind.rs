//! Situations of those behind a full socket: who is kept, who is closed, what they get and what they are told.

use super::*;
use crate::ids::Epoch;
use crate::protocol::class::Class;
use std::time::Duration;

#[test]
fn a_slow_consumer_is_closed_after_a_prefix_and_the_others_get_all() {
    let mut scene = Scene::new(Limits { queue_frames: 20, ..Limits::default() });
    let (slow, healthy) = (scene.connect(&["t"]), scene.connect(&["t"]));
    scene.sockets.room.insert(slow.slot, 25);
    for number in 0..100 {
        scene.publish("t", format!("message {number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    assert_eq!(scene.read(healthy.slot).0.len(), 100);
    assert!(scene.shard.is_closing(slow.slot));
    scene.sockets.room.insert(slow.slot, usize::MAX);
    scene.shard.drain(slow.slot, NOW, &mut scene.sockets);
    let (texts, close) = scene.read(slow.slot);
    assert_eq!(
        (texts, close),
        (vec!["message 0".to_owned(), "message 1".to_owned(), "message 2".to_owned()], Some(4001))
    );
    scene.assert_balanced();
}

/// A publisher began a new history while messages of the old one waited: the close named their number as one of the
/// new history, from which whoever resumed there missed the beginning, and was told that it had missed nothing.
#[test]
fn a_close_names_a_place_in_the_history_that_its_number_is_of() {
    for by_bytes in [false, true] {
        let limits = if by_bytes {
            Limits { queues_bytes_per_shard: 200, ..Limits::default() }
        } else {
            Limits { queue_frames: 4, ..Limits::default() }
        };
        let mut scene = Scene::new(limits);
        let id = scene.connect(&["t"]);
        scene.sockets.room.insert(id.slot, 4);
        for text in ["1", "2", "3"] {
            scene.publish("t", text.into());
        }
        scene.sweep();
        let anew = PublishOptions { epoch: Some(Epoch(36)), ..PublishOptions::default() };
        scene.publish_with("t", "1", anew);
        for text in ["2", "3", "4", "5"] {
            scene.publish("t", text.into());
        }
        scene.sweep();
        assert!(scene.shard.is_closing(id.slot));
        assert_eq!(scene.reason(id.slot), "slow consumer last=1:2 topic=t");
        scene.assert_balanced();
    }
}

/// What was owed when the new history began overflowed as if it were of that: the subscriber of a `delta` topic was
/// told of a gap of numbers of the old one in the new.
#[test]
fn what_overflows_before_a_new_history_is_of_the_old_one() {
    let rules = vec![Rule { class: Some(Class::Delta), ..rule("d") }];
    let mut scene = Scene::under(Limits { queue_frames: 3, ..Limits::default() }, rules);
    let id = scene.connect(&["d"]);
    scene.sockets.room.insert(id.slot, 4);
    for number in 1..=9 {
        scene.publish("d", format!("{number}"));
    }
    let anew = PublishOptions { epoch: Some(Epoch(36)), image: true, ..PublishOptions::default() };
    scene.publish_with("d", "image", anew);
    scene.sockets.room.insert(id.slot, usize::MAX);
    scene.shard.drain(id.slot, NOW, &mut scene.sockets);
    for ask in std::mem::take(&mut scene.shard.replays.asks) {
        scene.request(Request::Replay(Box::new(ask)));
    }
    let (texts, close) = scene.read(id.slot);
    let told = texts.iter().position(|text| *text == r#"{"event":"epoch","topic":"d","epoch":"10","seq":1}"#);
    let gaps = texts.iter().filter(|text| text.contains("gap")).count();
    assert_eq!(
        (told.map(|at| &texts[at + 1..]), gaps, close),
        (Some(&["image".to_owned()][..]), 0, None),
        "{texts:?}"
    );
    scene.assert_balanced();
}

/// A connection that was given up while a gap waited in its queue was named the number before the next message, and
/// never heard of the gap: whoever resumed there missed what was skipped.
#[test]
fn a_close_names_the_place_before_a_gap_that_was_not_told() {
    let rules = vec![Rule { class: Some(Class::BestEffort), ..rule("o") }];
    let limits = Limits { queue_frames: 4, queues_bytes_per_shard: 2_000, ..Limits::default() };
    let mut scene = Scene::under(limits, rules);
    let id = scene.connect(&["o"]);
    scene.sockets.room.insert(id.slot, 4);
    for number in 1..=9 {
        scene.publish("o", format!("{number}"));
    }
    scene.sweep();
    assert!(!scene.shard.is_closing(id.slot));
    scene.publish("o", "x".repeat(2_000));
    scene.sweep();
    assert!(scene.shard.is_closing(id.slot));
    assert_eq!(scene.reason(id.slot), "slow consumer last=1:2 topic=o");
    scene.assert_balanced();
}

/// Proves: whoever takes a byte of what its socket holds within the limit is not given up, though the socket asks for
/// no more; whoever takes none is, when the limit has passed since its last.
#[test]
fn who_takes_little_at_a_time_is_not_stalled() {
    const STALL_S: u64 = 3;
    let mut scene = Scene::new(Limits { queue_stall_s: STALL_S, ..Limits::default() });
    let id = scene.connect(&["t"]);
    scene.sockets.room.insert(id.slot, 5);
    scene.publish("t", "more than it takes".to_owned());
    scene.sweep();
    let mut is_closed_at = |second: u64, unacknowledged| {
        scene.sockets.unacknowledged.insert(id.slot, unacknowledged);
        scene.shard.tick(0, 10, NOW + Duration::from_secs(second), &mut scene.sockets);
        scene.shard.is_closing(id.slot)
    };
    for (second, unacknowledged) in [(1, 1_000), (2, 1_000), (3, 999), (5, 999), (6, 0)] {
        assert!(!is_closed_at(second, unacknowledged), "after {second} s");
    }
    assert!(!is_closed_at(6 + STALL_S - 1, 0), "too early");
    assert!(is_closed_at(6 + STALL_S, 0), "never");
}

/// Proves: behind a full socket the newest state takes the place of the one before it, goes out with the first
/// write after the socket frees, the client is told how many it did not get, and lag closes nothing.
#[test]
fn a_state_subscriber_that_fell_behind_gets_the_newest() {
    let rules = vec![Rule { class: Some(Class::State), ..rule("s") }];
    let mut scene = Scene::under(Limits { queue_frames: 10, ..Limits::default() }, rules);
    let id = scene.connect(&["s"]);
    scene.sockets.room.insert(id.slot, 5);
    for number in 1..=100 {
        scene.publish("s", format!("{number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    let later = NOW + Duration::from_secs(30);
    scene.shard.heard(id.slot, 1, later);
    scene.shard.tick(0, 10, later, &mut scene.sockets);
    assert!(!scene.shard.is_closing(id.slot));
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    assert_eq!(texts, ["1", "2", "100", r#"{"event":"caught_up","conflated":{"s":97}}"#]);
    assert_eq!((close, scene.shard.counters().account.conflated), (None, 97));
    scene.assert_balanced();
}

/// A publisher of a `state` topic that leaves numbers out, or begins anew: what was told of it fixed the message that
/// waited in its place, so a subscriber that was behind had all of them in its queue, and was closed in the end.
#[test]
fn a_state_subscriber_has_one_message_waiting_whatever_its_publisher_leaves_out() {
    let rules = vec![Rule { class: Some(Class::State), ..rule("s") }];
    let mut scene = Scene::under(Limits { queue_frames: 20, ..Limits::default() }, rules);
    let id = scene.connect(&["s"]);
    scene.sockets.room.insert(id.slot, 5);
    scene.publish("s", "1".into());
    scene.publish("s", "2".into());
    for number in 2..=100 {
        let options = PublishOptions { seq: Some(number * 2), ..PublishOptions::default() };
        scene.publish_with("s", &format!("{}", number * 2), options);
        scene.sweep();
        scene.assert_balanced();
    }
    assert!(scene.shard.counters().queued_frames <= 4, "{:?}", scene.shard.counters());
    for epoch in [36, 37] {
        let anew = PublishOptions { epoch: Some(Epoch(epoch)), ..PublishOptions::default() };
        scene.publish_with("s", &format!("{epoch}:1"), anew);
        scene.sweep();
    }
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    let gap =
        |from, to| format!(r#"{{"event":"gap","topic":"s","from":{from},"to":{to},"reason":"publisher"}}"#);
    let epoch = |epoch| format!(r#"{{"event":"epoch","topic":"s","epoch":"{epoch}","seq":0}}"#);
    let caught_up = r#"{"event":"caught_up","conflated":{"s":100}}"#.to_owned();
    let expected =
        ["1".into(), "2".into(), gap(3, 3), gap(5, 199), epoch("10"), epoch("11"), "37:1".into(), caught_up];
    assert_eq!((texts, close), (expected.to_vec(), None));
    scene.assert_balanced();
}

/// Proves: past the limit the oldest are skipped, a gap before the next message names exactly which, and the
/// client hears at half of its bounds that it is behind.
#[test]
fn a_best_effort_subscriber_that_fell_behind_is_told_what_it_missed() {
    let rules = vec![Rule { class: Some(Class::BestEffort), ..rule("o") }];
    let mut scene = Scene::under(Limits { queue_frames: 6, ..Limits::default() }, rules);
    let id = scene.connect(&["o"]);
    scene.sockets.room.insert(id.slot, 4);
    for number in 1..=20 {
        scene.publish("o", format!("{number}"));
        scene.sweep();
        scene.assert_balanced();
    }
    scene.sockets.room.insert(id.slot, usize::MAX);
    assert!(scene.shard.drain(id.slot, NOW, &mut scene.sockets));
    let (texts, close) = scene.read(id.slot);
    let gap = r#"{"event":"gap","topic":"o","from":3,"to":17,"reason":"slow"}"#;
    let (slow, caught_up) = (r#"{"event":"slow","behind":3}"#, r#"{"event":"caught_up","conflated":{}}"#);
    assert_eq!(texts, ["1", "2", slow, gap, "18", "19", "20", caught_up]);
    assert_eq!((close, scene.shard.counters().account.skipped), (None, 15));
    scene.assert_balanced();
}

/// Proves: a rule's limits hold for its topic alone, in frames, bytes and seconds.
#[test]
fn a_topic_has_limits_of_its_own() {
    let rules = [
        Rule { queue_frames: Some(3), ..rule("t") },
        Rule { queue_bytes: Some(7), ..rule("t") },
        Rule { queue_age_s: Some(2), ..rule("t") },
    ];
    for rule in rules {
        let mut scene = Scene::under(Limits::default(), vec![rule.clone()]);
        let (other, id) = (scene.connect(&["u"]), scene.connect(&["t", "u"]));
        for id in [other, id] {
            scene.sockets.room.insert(id.slot, 0);
        }
        for number in 1..=4 {
            scene.publish("t", format!("{number}"));
            scene.publish("u", format!("{number}"));
        }
        scene.sweep();
        scene.shard.tick(0, 10, NOW + Duration::from_secs(2), &mut scene.sockets);
        assert!(scene.shard.is_closing(id.slot), "{rule:?}");
        assert!(!scene.shard.is_closing(other.slot), "{rule:?}");
        scene.assert_balanced();
    }
}
