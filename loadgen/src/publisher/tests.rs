use super::*;
use crate::pace::Grid;
use crate::stamp::{STAMP_BYTES, Scanner, Stamp};
use crate::supply::Alike;
use crate::target::tests::stentor;
use crate::target::wire::Wire;
use crate::topics::TopicPlan;
use tokio::net::TcpSocket;

const SIZE: usize = 65_000;
/// FIN and opcode, a length of two bytes, the mask.
const HEADER_BYTES: usize = 8;

/// A publisher's connection to a peer whose receive buffer is small and does not grow.
async fn pair() -> (Opened, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16_384).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    let peer = peer.into_std().unwrap();
    peer.set_nonblocking(false).unwrap();
    (Opened { stream, early: Vec::new(), wire: Wire::WebSocket }, peer)
}

fn order(grid: Grid, count: u64, size: usize) -> Order {
    let supply = Box::new(Alike::new(&TopicPlan::one("t"), &stentor("ws://h"), size));
    Order {
        schedule: Schedule::Grid(grid),
        supply,
        listeners: vec![3],
        count,
        measured_from_ns: grid.at(100),
    }
}

/// Reads masked frames of the one size and gives their stamps.
fn read_stamps(peer: &mut TcpStream, count: u64) -> Vec<Stamp> {
    let mut frame = vec![0; HEADER_BYTES + SIZE];
    let mut stamps = Vec::new();
    for _ in 0..count {
        peer.read_exact(&mut frame).unwrap();
        let (header, payload) = frame.split_at_mut(HEADER_BYTES);
        let mask = &header[4..];
        payload.iter_mut().zip(mask.iter().cycle()).take(100).for_each(|(byte, mask)| *byte ^= mask);
        Scanner::default().scan(&payload[..10 + STAMP_BYTES], &mut |stamp| stamps.push(stamp));
    }
    stamps
}

/// The heart of an open loop: a peer that stalls makes us late, and every stamp still says when its message was due.
#[tokio::test]
async fn a_peer_that_stalls_moves_the_sending_and_never_the_stamps() {
    let (opened, mut peer) = pair().await;
    let clock = Clock::start();
    let grid = Grid::new(clock.now_ns(), 1e6);
    let count = 300;
    let mut publisher = Publisher::start(opened, order(grid, count, SIZE), clock).unwrap();
    let stall = Duration::from_millis(200);
    let reading = std::thread::spawn(move || {
        std::thread::sleep(stall); // What is tested, not a wait for luck: 19 MB do not fit the buffers meanwhile.
        read_stamps(&mut peer, count)
    });
    let published = publisher.done().await.unwrap();
    let expected: Vec<_> =
        (0..count).map(|k| Stamp { intended_ns: grid.at(k), topic: 0, seq: k as u32 }).collect();
    assert_eq!(reading.join().unwrap(), expected);
    assert_eq!((published.count, publisher.count()), (count, count));
    assert_eq!((published.measured, published.of_topic.as_slice()), (count - 100, [count].as_slice()));
    assert_eq!((published.routed, publisher.routed()), (3 * count, 3 * count));
    // The last message was due within 0.3 ms of the start.
    assert!(published.lag.max_ns() >= stall.as_nanos() as u64 - 1_000_000, "{published:?}");
    assert!(published.lag.own_max_ns() < published.lag.max_ns(), "{published:?}");
    assert!(published.blocked_ns > 0, "{published:?}");
}

#[tokio::test]
async fn a_close_from_the_server_is_quoted() {
    let (opened, mut peer) = pair().await;
    peer.write_all(b"\x88\x0b\x11\x96read only").unwrap();
    let clock = Clock::start();
    let order = order(Grid::new(clock.now_ns(), 100.0), 1 << 20, 64);
    let mut publisher = Publisher::start(opened, order, clock).unwrap();
    let error = publisher.done().await.unwrap_err().to_string();
    assert!(error.contains("code 4502 (read only)"), "{error}");
}
