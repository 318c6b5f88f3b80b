//! Proves: connections live long and end well, on every wire. Whoever comes and goes, in whichever way, leaves nothing
//! behind; every end has its report, and the reports add up.
//! Method: a server process, so that its descriptors and memory are its own; clients that close, vanish, reset, stop
//! reading or fall silent at random moments while messages are published. `STENTOR_CLIENTS` and `STENTOR_SECS` say how
//! many and how long.

// A failed step is a failed test, and lives are told in seconds.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::framed::{Frame, Framed as _};
use common::process::Process;
use common::tcp::frame;
use common::udp::UdpClient;
use common::{Addresses, PATIENCE, upgrade_request, within};
use fastrand::Rng;
use serde_json::json;
use socket2::SockRef;
use std::fs::File;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const TOPICS: usize = 20;
/// Everybody may come at once.
const HURRIED: [&str; 4] = ["--set", "limits.handshakes_per_s=0", "--set", "drain_s=30"];
/// Every kind of end is seen within seconds, and histories are full before memory is first looked at.
const IMPATIENT: [&str; 10] = [
    "--set",
    "limits.history_messages=5",
    "--set",
    "limits.lease_s=3",
    "--set",
    "limits.ping_s=2",
    "--set",
    "limits.idle_s=5",
    "--set",
    "limits.queue_stall_s=3",
];

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A server, and what it logs.
fn serve(log: &File, more: &[&str]) -> Process {
    // Both ends of a connection take a descriptor each, in two processes.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    Process::start_logging("serve", &[&HURRIED, more].concat(), log.try_clone().unwrap())
}

/// One end of a life, subscribed.
enum Line {
    Stream(TcpStream),
    Datagrams(UdpClient),
}

/// How a life ends, from the client's side.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Reset,
    /// It stops reading, and stays.
    Stall,
    /// It closes its writing side only, and reads on.
    Half,
}

impl Line {
    /// The wire is by the number's turn.
    async fn open(number: usize, to: Addresses, rng: &mut Rng) -> Self {
        let topics = [rng.usize(..TOPICS), rng.usize(..TOPICS)].map(|topic| format!("life.{topic}"));
        let operation = json!({"op": "subscribe", "args": topics});
        match number % 3 {
            0 => loop {
                let mut stream = connect(to.websocket).await;
                let path = format!("/stream?streams={}/{}", topics[0], topics[1]);
                stream.write_all(upgrade_request(&path, "").as_bytes()).await.unwrap();
                let mut head = [0; 12];
                within("a handshake", stream.read_exact(&mut head)).await.unwrap();
                if &head == b"HTTP/1.1 101" {
                    return Self::Stream(stream);
                }
                // Those who have vanished have their seats for a while yet.
                assert_eq!(&head, b"HTTP/1.1 503");
                sleep(Duration::from_secs(1)).await;
            },
            1 => {
                let mut stream = connect(to.tcp).await;
                stream.write_all(&frame(b'J', operation.to_string().as_bytes())).await.unwrap();
                let mut head = [0; 5];
                within("an ack", stream.read_exact(&mut head)).await.unwrap();
                assert!(b"JH".contains(&head[4]), "neither an ack nor a sign of life: {head:?}");
                Self::Stream(stream)
            }
            _ => {
                let mut client = UdpClient::connect_to(to.udp).await;
                // Answers are lost where so much is sent at once.
                loop {
                    client.send_json(operation.clone()).await;
                    let answered = timeout(Duration::from_secs(1), async {
                        loop {
                            match client.next("an ack").await {
                                Frame::Json(ack) if ack["event"] == "ack" => return,
                                _ => {}
                            }
                        }
                    });
                    if answered.await.is_ok() {
                        return Self::Datagrams(client);
                    }
                }
            }
        }
    }

    /// Reads, and gives signs of life, for so long; then ends so.
    async fn live(self, length: Duration, end: End) {
        let mut buffer = vec![0; 16 << 10];
        match self {
            Self::Stream(mut stream) => {
                let reading = async { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
                let _ = timeout(length, reading).await;
                match end {
                    End::Close => drop(stream),
                    End::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
                    End::Stall => sleep(length).await,
                    End::Half => {
                        let _ = stream.shutdown().await;
                        let reading =
                            async { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
                        let _ = timeout(length, reading).await;
                    }
                }
            }
            Self::Datagrams(mut client) => {
                let until = Instant::now() + length;
                while Instant::now() < until {
                    client.renew().await;
                    let second = (Instant::now() + Duration::from_secs(1)).min(until);
                    while tokio::time::timeout_at(second, client.socket.recv(&mut buffer)).await.is_ok() {}
                }
                if matches!(end, End::Close) {
                    // As near to a goodbye as datagrams come; the others only vanish.
                    client.send_json(json!({"op": "unsubscribe", "args": ["life.0"]})).await;
                }
            }
        }
    }
}

async fn connect(to: SocketAddr) -> TcpStream {
    within("a connection", TcpStream::connect(to)).await.unwrap()
}

/// Lives one after the other, until then. How many they were.
async fn lives(number: usize, to: Addresses, until: Instant, longest: Duration) -> u64 {
    let mut rng = Rng::with_seed(number as u64);
    let mut count = 0;
    while Instant::now() < until {
        let line = Line::open(number, to, &mut rng).await;
        let length = longest.mul_f64(rng.f64());
        let end = [End::Close, End::Reset, End::Stall, End::Half][rng.usize(..4)];
        line.live(length, end).await;
        count += 1;
    }
    count
}

/// What a process holds: descriptors, and KiB of memory.
fn held(id: u32) -> (usize, u64) {
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, memory.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Waits until nobody is connected, and returns what the server holds then.
async fn deserted(server: &Process) -> (usize, u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.metric("stentor_connections", &[]) > 0.5 {
        assert!(Instant::now() < deadline, "somebody stays");
        sleep(Duration::from_millis(200)).await;
    }
    // Sockets are closed at a pace.
    sleep(Duration::from_secs(3)).await;
    held(server.id())
}

/// Proves: descriptors, memory, slots, subscriptions and leases come back to what they were.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_and_goes_leaves_nothing_behind() {
    let clients = setting("STENTOR_CLIENTS", 300);
    let length = Duration::from_secs(setting("STENTOR_SECS", 30));
    let log = tempfile::tempfile().unwrap();
    let server = serve(&log, &IMPATIENT);
    let to = server.at;
    let publisher = tokio::spawn(async move {
        let mut stream = connect(to.tcp).await;
        for round in 0.. {
            let topic = format!("life.{}", round % TOPICS);
            let body = [&(topic.len() as u16).to_be_bytes()[..], topic.as_bytes(), &[b'x'; 300]].concat();
            // The server's signs of life are read, or it would stop.
            let _ = stream.try_read(&mut [0; 1_024]);
            if stream.write_all(&frame(b'P', &body)).await.is_err() {
                // A machine that stands still for seconds makes it silent too.
                stream = connect(to.tcp).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let waves = async |length: Duration| {
        let mut crowd = JoinSet::new();
        let until = Instant::now() + length;
        for number in 0..clients {
            crowd.spawn(lives(number, to, until, Duration::from_secs(6).min(length)));
            if number % 100 == 99 {
                // So that a listen queue holds those who come at once.
                sleep(Duration::from_millis(20)).await;
            }
        }
        crowd.join_all().await.into_iter().sum::<u64>()
    };
    // What is kept for reuse is there after the first.
    let mut lived = waves(Duration::from_secs(3)).await;
    // The publisher is one, and stays.
    let only_the_publisher = async || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.metric("stentor_connections", &[]) > 1.5 {
            assert!(Instant::now() < deadline, "somebody stays");
            sleep(Duration::from_millis(200)).await;
        }
    };
    only_the_publisher().await;
    sleep(Duration::from_secs(2)).await;
    let (descriptors_before, memory_before) = held(server.id());
    lived += waves(length).await;
    only_the_publisher().await;
    assert!(server.metric("stentor_subscriptions", &[]) < 0.5, "a subscription stays");
    publisher.abort();
    let _ = publisher.await;
    let (descriptors, memory) = deserted(&server).await;
    println!(
        "{lived} lives; descriptors {descriptors_before} -> {descriptors}, KiB {memory_before} -> {memory}"
    );
    assert!(descriptors <= descriptors_before, "{descriptors_before} descriptors became {descriptors}");
    assert!(
        memory <= memory_before + memory_before / 10 + 2_048,
        "{memory_before} KiB became {memory}: something stays"
    );
    let total = |name: &str| server.metric(&format!("stentor_{name}_total"), &[]) as u64;
    let opened = total("connections_opened");
    // Who gets the port of one that has vanished takes its lease over.
    assert!(opened > lived / 2, "{opened} connections for {lived} lives and a publisher");
    assert_eq!((total("connections_dropped"), total("unregistered")), (opened, 0));
    let account = ["delivered", "conflated", "skipped", "abandoned"].map(total);
    assert_eq!(total("routed"), account.iter().sum::<u64>(), "{account:?}");
    assert!(account[0] > lived, "next to nothing was delivered");
}

/// Proves: when the server goes down, each of many connections on every wire has its notice, its close and its report;
/// what the reports say was delivered is what was; the exit is in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_has_its_report() {
    let clients: usize = setting("STENTOR_CLIENTS", 300);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut server = serve(&File::create(&path).unwrap(), &[]);
    let to = server.at;
    let mut crowd = JoinSet::new();
    let mut rng = Rng::with_seed(1);
    for number in 0..clients {
        let line = Line::open(number, to, &mut rng).await;
        crowd.spawn(line.live(Duration::from_secs(60), End::Close));
    }
    let mut publisher = connect(to.tcp).await;
    for topic in 0..TOPICS {
        let operation =
            json!({"op": "publish", "id": topic, "topic": format!("life.{topic}"), "data": topic});
        publisher.write_all(&frame(b'J', operation.to_string().as_bytes())).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    let total = |name: &str| server.metric(&format!("stentor_{name}_total"), &[]) as u64;
    let routed = loop {
        let [published, routed, delivered] = ["published", "routed", "delivered"].map(total);
        if published == TOPICS as u64 && delivered == routed {
            break routed;
        }
        assert!(
            Instant::now() < deadline,
            "{published} published, {routed} routed, {delivered} delivered, {} skipped, {} abandoned",
            total("skipped"),
            total("abandoned")
        );
        sleep(Duration::from_millis(20)).await;
    };
    // It has answers unread, and is reset: not before everything has been taken.
    drop(publisher);
    while server.metric("stentor_connections", &[]) as usize != clients {
        assert!(Instant::now() < deadline, "the publisher stays");
        sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    server.terminate();
    assert_eq!(timeout(Duration::from_secs(40), server.ended()).await.unwrap(), Some(0));
    let took = began.elapsed();
    crowd.abort_all();
    let log = std::fs::read_to_string(&path).unwrap();
    let reports: Vec<&str> = log.lines().filter(|line| line.contains("disconnected")).collect();
    let of_shutdown = reports.iter().filter(|line| line.contains(r#"reason="shutdown""#)).count();
    println!("{clients} connections, {} reports, {of_shutdown} of the shutdown, in {took:?}", reports.len());
    assert_eq!((reports.len(), of_shutdown), (clients + 1, clients), "one is the publisher's");
    let sum = |name: &str| -> u64 {
        let value =
            |line: &&str| line.split(&format!(" {name}=")).nth(1)?.split(' ').next()?.parse::<u64>().ok();
        reports.iter().map(|line| value(line).unwrap_or_else(|| panic!("no {name} in {line}"))).sum()
    };
    assert_eq!((sum("delivered"), sum("lost")), (routed, 0));
    assert!(took < Duration::from_secs(30), "it took {took:?}");
}
