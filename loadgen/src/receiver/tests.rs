use super::*;
use crate::stamp::{Payload, STAMP_BYTES, Stamp};
use crate::tally::Received;
use crate::target::tests::stentor;
use crate::topics::TopicPlan;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const FRAMES: u32 = 64;
const FRAME_BYTES: usize = TRICKLE_BYTES;

/// 64 messages, each in a frame of 1 KiB.
fn messages() -> Vec<u8> {
    let mut wire = Vec::new();
    for seq in 0..FRAMES {
        let template = Payload::new(FRAME_BYTES - 4);
        let mut payload = template.as_bytes().to_vec();
        let stamp = Stamp { intended_ns: 0, topic: 0, seq }.to_bytes();
        payload[template.stamp_at()..][..STAMP_BYTES].copy_from_slice(&stamp);
        wire.extend_from_slice(&[0x81, 126]);
        wire.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        wire.extend_from_slice(&payload);
    }
    wire
}

/// Of the two subscribers one stalls and one trickles: while everything is there for both, only single KiB are read, one a
/// tick; told to finish, both read to the end.
#[tokio::test]
async fn a_stalled_one_reads_nothing_and_a_trickling_one_little_until_the_end() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let share = Share {
        first: 0,
        others: 0,
        count: 2,
        in_flight: 2,
        server,
        target: Arc::new(stentor(&format!("ws://{server}"))),
        topics: Arc::new(Topics::deal(&TopicPlan::one("t"), 2)),
        marks: Arc::default(),
        pace: Pace::Slow { stalled: 1 },
        partial: false,
    };
    let clock = Clock::start();
    let mut receiver = Receiver::start(share, clock).unwrap();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (stream, _) = listener.accept().await.unwrap();
        peers.push(tokio_tungstenite::accept_async(stream).await.unwrap().into_inner());
    }
    receiver.ready().await.unwrap();
    let from_ns = clock.now_ns();
    for peer in &mut peers {
        peer.write_all(&messages()).await.unwrap();
    }
    let tally = receiver.tally();
    let bytes = || Received::sum(std::slice::from_ref(&tally)).bytes;
    while bytes() < 8 * TRICKLE_BYTES as u64 {
        tokio::task::yield_now().await;
    }
    let read = bytes();
    // One tick may have begun before the clock was read, and one after.
    let ticks = (clock.now_ns() - from_ns) / TRICKLE_EVERY.as_nanos() as u64 + 2;
    assert!(read.is_multiple_of(TRICKLE_BYTES as u64) && read <= ticks * TRICKLE_BYTES as u64, "{read}");
    let finish = receiver.finish([u64::from(FRAMES)].into());
    let hang_up = async {
        // Both have everything before the peers go.
        while bytes() < 2 * messages().len() as u64 {
            tokio::task::yield_now().await;
        }
    };
    let (harvest, ()) = tokio::join!(finish, hang_up);
    let harvest = harvest.unwrap();
    assert_eq!((harvest.account.received, harvest.account.gaps, harvest.missing), (2 * 64, 0, 0));
    assert!(harvest.endings.is_empty() && harvest.latency.is_empty());
}
