//! Proves: what a session asks, and what it tells, in the situations that no server brings about on demand.
//! Method: the server's words are typed in; what the session would send and hand on is read off.

use super::{Repair, Session};
use crate::client::address::Transport;
use crate::client::error::ClientError;
use crate::client::event::Event;
use crate::client::wire::{Heard, Text};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

struct Scene {
    session: Session,
}

impl Scene {
    fn over(transport: Transport, can_repair: bool) -> Self {
        let mut session = Session::new(transport, can_repair, true, Instant::now());
        session.opened(false);
        Self { session }
    }

    /// What it sends next.
    fn asks(&mut self) -> Option<Value> {
        self.session.outbox.pop_front().map(|text| serde_json::from_str(&text).unwrap())
    }

    fn hears(&mut self, said: Value) {
        let text = Text::from_bytes(Bytes::from(said.to_string())).unwrap();
        self.session.hear(Heard::Text(text)).unwrap();
    }

    /// Subscribes, and has it granted at these numbers of the epoch `e`.
    fn joins(&mut self, topics: &[(&str, u64)]) {
        self.session.subscribe(topics.iter().map(|(topic, _)| (*topic).into()).collect());
        let id = self.asks().unwrap()["id"].clone();
        self.is_granted(id, topics, None);
    }

    fn is_granted(&mut self, id: Value, topics: &[(&str, u64)], recovered: Option<bool>) {
        let ok = topics.iter().enumerate().map(|(alias, (topic, seq))| match topic.ends_with('*') {
            true => json!({"topic": topic}),
            false => {
                json!({"topic": topic, "alias": alias, "class": "event", "epoch": "e", "seq": seq, "recovered": recovered})
            }
        });
        self.hears(
            json!({"event": "ack", "op": "subscribe", "id": id, "ok": ok.collect::<Vec<_>>(), "err": []}),
        );
    }

    fn datagram(&mut self, alias: u32, seq: u64) {
        let payload = Bytes::from(seq.to_string());
        self.session.hear(Heard::Data { alias, seq, payload, is_snapshot: false }).unwrap();
    }

    fn is_cut(&mut self) {
        self.session.lost(&ClientError::ended());
        self.session.opened(true);
    }

    /// What it tells, in short; answers left out.
    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.take_event())
            .filter_map(|(event, _)| match event {
                Event::Message(message) => Some(format!("{} {}", message.topic, message.seq)),
                Event::Gap { topic, from, to, reason } => Some(format!("{topic} {from}-{to} {reason}")),
                Event::Epoch { topic, head } => Some(format!("{topic} anew {head}")),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn everything_is_named_with_its_place_before_the_patterns_and_released_after_them() {
    let mut scene = Scene::over(Transport::Tcp, false);
    scene.joins(&[("a", 3), ("p.*", 0)]);
    scene.hears(json!({"event": "topic", "topic": "p.x", "alias": 9, "epoch": "e", "seq": 5}));
    scene.datagram(9, 6);
    scene.datagram(0, 4);
    assert_eq!(scene.told(), ["p.x 6", "a 4"]);
    scene.is_cut();
    let asked = scene.asks().unwrap();
    let since = |topic: &str, seq: u64| json!({"topic": topic, "since": {"epoch": "e", "seq": seq}});
    assert_eq!(asked["args"], json!([since("a", 4), since("p.x", 6), "p.*"]));
    scene.is_granted(asked["id"].clone(), &[("a", 9), ("p.x", 9), ("p.*", 0)], Some(true));
    let released = scene.asks().unwrap();
    assert_eq!((&released["op"], &released["args"]), (&json!("unsubscribe"), &json!(["p.x"])));
    scene.datagram(1, 7);
    assert_eq!(scene.told(), ["p.x 7"]);
}

/// Over WebSocket a pattern's topics come without their epoch: it is asked for once, by naming them for a moment.
#[test]
fn epochs_that_nobody_told_are_asked_for_once() {
    let mut scene = Scene::over(Transport::WebSocket, false);
    scene.joins(&[("p.*", 0)]);
    for seq in 1..=3 {
        scene.hears(json!({"stream": "p.x", "seq": seq, "data": seq}));
        scene.hears(json!({"stream": "p.y", "seq": seq, "data": seq}));
    }
    let first = scene.asks().unwrap();
    assert_eq!((&first["args"], scene.asks()), (&json!(["p.x"]), None));
    scene.is_granted(first["id"].clone(), &[("p.x", 3)], None);
    assert_eq!(scene.asks().unwrap()["op"], "unsubscribe");
    assert_eq!(scene.asks().unwrap()["args"], json!(["p.y"]));
    assert_eq!(scene.session.place("p.x").unwrap().to_string(), "e:3");
    // It retired, and was born again.
    scene.told();
    scene.hears(json!({"stream": "p.x", "seq": 1, "data": 1}));
    assert_eq!(scene.told(), ["p.x anew :0", "p.x 1"]);
}

#[test]
fn what_a_pattern_brings_after_a_cut_and_was_not_known_may_have_been_missed() {
    let mut scene = Scene::over(Transport::WebSocket, false);
    scene.joins(&[("p.*", 0)]);
    scene.is_cut();
    scene.hears(json!({"stream": "p.x", "seq": 4, "data": 1}));
    scene.hears(json!({"stream": "p.y", "seq": 1, "data": 1}));
    assert_eq!(scene.told(), ["p.x 1-3 unseen", "p.x 4", "p.y 1"]);
}

#[test]
fn many_topics_are_asked_for_in_parts_and_few_fit_a_datagram() {
    for (transport, bytes_max) in [(Transport::Tcp, 256 << 10), (Transport::Udp, 1_400)] {
        let mut scene = Scene::over(transport, false);
        let names: Vec<String> = (0..2_000).map(|n| format!("topic.{n}")).collect();
        scene.session.subscribe(names.iter().map(|name| name.as_str().into()).collect());
        let mut asked = Vec::new();
        while let Some(text) = scene.session.outbox.pop_front() {
            assert!(text.len() <= bytes_max, "{} bytes", text.len());
            let operation: Value = serde_json::from_str(&text).unwrap();
            asked.extend(
                operation["args"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()),
            );
        }
        assert_eq!(asked, names);
    }
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again_and_not_for_ever() {
    let begin = Instant::now();
    let mut scene = Scene::over(Transport::Udp, false);
    scene.session.tick(begin).unwrap();
    scene.session.subscribe(vec!["t".into()]);
    let asked = scene.asks().unwrap();
    scene.session.tick(scene.session.deadline().unwrap()).unwrap();
    assert_eq!(scene.asks(), Some(asked.clone()));
    assert_eq!(scene.session.tick(begin + Duration::from_secs(10)), Err(ClientError::Unanswered));
    // The second answer to what was asked twice says nothing new.
    scene.is_granted(asked["id"].clone(), &[("t", 0)], None);
    scene.datagram(0, 1);
    scene.is_granted(asked["id"].clone(), &[("t", 0)], None);
    scene.datagram(0, 2);
    assert_eq!(scene.told(), ["t 1", "t 2"]);
}

#[test]
fn what_was_fetched_for_an_earlier_hole_does_not_stand_in_for_this_one() {
    let mut scene = Scene::over(Transport::Udp, true);
    scene.joins(&[("t", 0)]);
    let fetched = |scene: &mut Scene, seq: u64| {
        let mut elsewhere = Scene::over(Transport::Tcp, false);
        elsewhere.joins(&[("t", seq - 1)]);
        elsewhere.datagram(0, seq);
        while let Some((event, _)) = elsewhere.session.take_event() {
            if matches!(event, Event::Message(_)) {
                scene.session.mended(event);
            }
        }
    };
    let answered = |scene: &mut Scene| {
        scene.session.mended(Event::Subscribed { granted: vec![granted("t")], refused: vec![] });
    };
    scene.datagram(0, 3);
    let Some(Repair::Begin(wish)) = scene.session.repairs.pop_front() else { panic!("no repair") };
    assert_eq!(wish.since.unwrap().to_string(), "e:0");
    answered(&mut scene);
    fetched(&mut scene, 1);
    fetched(&mut scene, 2);
    assert_eq!(scene.session.repairs.pop_front(), Some(Repair::End("t".into())));
    scene.datagram(0, 5);
    // What the first repair still brings lies behind the new hole.
    fetched(&mut scene, 6);
    assert_eq!(scene.told(), ["t 1", "t 2", "t 3"]);
    answered(&mut scene);
    fetched(&mut scene, 4);
    scene.datagram(0, 6);
    assert_eq!(scene.told(), ["t 4", "t 5", "t 6"]);
}

fn granted(topic: &str) -> crate::client::event::Granted {
    let (class, head, recovered, reason) = (None, None, Some(true), None);
    crate::client::event::Granted { topic: topic.into(), class, head, recovered, reason }
}

/// Events are datagrams too: what they would have said is found out by the heads.
#[test]
fn a_name_or_a_new_epoch_that_was_lost_is_found_out_by_heartbeats() {
    let mut scene = Scene::over(Transport::Udp, false);
    scene.joins(&[("t", 8), ("p.*", 0)]);
    scene.datagram(7, 1);
    let beat = |scene: &mut Scene, heads: Value| scene.hears(json!({"event": "heartbeat", "seq": heads}));
    beat(&mut scene, json!({"t": 8, "p.x": 1}));
    let asked = scene.asks().unwrap();
    assert_eq!((&asked["op"], &asked["args"]), (&json!("subscribe"), &json!(["p.x"])));
    scene.is_granted(asked["id"].clone(), &[("p.x", 1)], None);
    assert_eq!(scene.told(), ["p.x 1-1 unseen"]);
    scene.asks();
    beat(&mut scene, json!({"t": 2, "p.x": 1}));
    let asked = scene.asks().unwrap();
    scene.hears(json!({"event": "ack", "id": asked["id"], "ok": [{"topic": "t", "alias": 3, "epoch": "f", "seq": 2}]}));
    scene.datagram(3, 3);
    assert_eq!(scene.told(), ["t anew f:2", "t 3"]);
    assert_eq!(scene.asks(), None, "what is wanted by its name is not left");
}

/// Numbers as nobody would send them.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..6, Just(u64::MAX - 1), Just(u64::MAX)]
}

proptest! {
    /// Whatever a server says is taken; nothing in it is a panic or keeps a session busy for ever.
    #[test]
    fn no_words_of_a_server_are_a_panic(
        wire in 0_usize..3,
        said in proptest::collection::vec((0..9, 0_u32..3, number(), number()), 0..40),
    ) {
        let transport = [Transport::WebSocket, Transport::Tcp, Transport::Udp][wire];
        let mut scene = Scene::over(transport, said.len() % 2 == 0);
        scene.joins(&[("t0", 3), ("t*", 0)]);
        for (kind, topic, one, other) in said {
            let name = format!("t{topic}");
            let place = json!({"topic": name, "alias": topic, "epoch": if one % 2 == 0 { "e" } else { "f" }, "seq": other});
            let said = match kind {
                0 => json!({"stream": name, "seq": one, "data": other}),
                1 => json!({"stream": name, "seq": one, "snap": true, "data": other}),
                2 => json!({"event": "gap", "topic": name, "from": one, "to": other, "reason": "evicted"}),
                3 => json!({"event": "heartbeat", "seq": {&name: one}}),
                4 => json!({"event": "ack", "id": one, "ok": [place], "err": []}),
                5 => {
                    let mut event = place;
                    event["event"] = json!(if one < 3 { "topic" } else { "epoch" });
                    event
                }
                6 => {
                    let payload = Bytes::new();
                    let _ = scene.session.hear(Heard::Data { alias: topic, seq: one, payload, is_snapshot: other == 0 });
                    continue;
                }
                7 => {
                    scene.session.mended(Event::Gap { topic: name, from: one, to: other, reason: String::new() });
                    continue;
                }
                _ => {
                    scene.is_cut();
                    continue;
                }
            };
            scene.hears(said);
        }
        scene.session.unmendable();
        scene.told();
    }
}
