use super::*;
use crate::stamp::{Payload, STAMP_BYTES, Stamp};
use crate::tally::Received;
use crate::target::tests::stentor;
use crate::topics::TopicPlan;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle as Task;

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

/// One subscriber that reads as `pace` says, and a peer that sends it everything.
async fn subscribed(pace: Pace, clock: Clock) -> (Receiver, Task<TcpStream>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let share = Share {
        first: 0,
        others: 0,
        count: 1,
        in_flight: 1,
        server,
        target: Arc::new(stentor(&format!("ws://{server}"))),
        topics: Arc::new(Topics::deal(&TopicPlan::one("t"), 1)),
        marks: Arc::default(),
        pace,
        partial: false,
        abrupt: false,
    };
    let mut receiver = Receiver::start(share, clock).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = tokio_tungstenite::accept_async(stream).await.unwrap().into_inner();
    receiver.ready().await.unwrap();
    let sending = tokio::spawn(async move {
        peer.write_all(&messages()).await.unwrap();
        peer
    });
    (receiver, sending)
}

/// Of the two subscribers one stalls and one trickles: while everything is there for both, only single KiB are read, one a
/// tick; told to finish, both read to the end.
#[tokio::test]
async fn a_stalled_one_reads_nothing_and_a_trickling_one_little_until_the_end() {
    let clock = Clock::start();
    let from_ns = clock.now_ns();
    let (trickling, trickling_peer) = subscribed(Pace::Trickling, clock).await;
    let (stalled, stalled_peer) = subscribed(Pace::Stalled, clock).await;
    let bytes = |tally: &Arc<ReceiverTally>| Received::sum(std::slice::from_ref(tally)).bytes;
    let (little, none) = (trickling.tally(), stalled.tally());
    while bytes(&little) < 8 * TRICKLE_BYTES as u64 {
        tokio::task::yield_now().await;
    }
    let read = bytes(&little);
    // One tick may have begun before the clock was read, and one after.
    let ticks = (clock.now_ns() - from_ns) / TRICKLE_EVERY.as_nanos() as u64 + 2;
    assert!(read.is_multiple_of(TRICKLE_BYTES as u64) && read <= ticks * TRICKLE_BYTES as u64, "{read}");
    assert_eq!(bytes(&none), 0);
    let published: Arc<[u64]> = [u64::from(FRAMES)].into();
    let both = tokio::join!(trickling.finish(Arc::clone(&published)), stalled.finish(published));
    for harvest in [both.0.unwrap(), both.1.unwrap()] {
        assert_eq!((harvest.account.received, harvest.account.gaps, harvest.missing), (64, 0, 0));
        assert!(harvest.endings.is_empty() && harvest.latency.is_empty());
    }
    // Until here the peers have not gone.
    trickling_peer.await.unwrap();
    stalled_peer.await.unwrap();
}
