//! Frames that do not lie side by side: copied together into one send, or one vectored write?
//!
//! 1 to 64 frames of 130 bytes and of 1 KiB lie apart in a log. `stentor` copies them into a scratch and sends
//! that, as a sweep does; `vectored` hands the kernel a list of them; `one_by_one` is a send for each;
//! `stentor_side_by_side` is what a sweep does when they are a run: one send, no copy. Loopback TCP; the clock stops when the
//! kernel has every byte, and reading them at the other end is not timed.
//! Figures: a frame.

#[path = "common/load.rs"]
mod load;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::io::{IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Where in the log frames lie: far enough apart that each is a cache line of its own, as on a busy shard.
const APART: usize = 16;

fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    load::pace(&mut group);
    group.measurement_time(Duration::from_millis(700));
    let (mut here, mut there) = pair();
    for size in [130, 1_024] {
        let log = vec![b'x'; 64 * APART * size];
        for count in [1, 4, 16, 64] {
            group.throughput(Throughput::Elements(count as u64));
            let frames: Vec<_> = log.chunks(APART * size).take(count).map(|chunk| &chunk[..size]).collect();
            let mut scratch = Vec::new();
            let mut received = vec![0; count * size];
            let mut bench = |design: &str, write: &mut dyn FnMut(&mut TcpStream)| {
                let id = BenchmarkId::new(design, format!("{count} x {size} bytes"));
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|rounds| {
                        let round = |_| {
                            let spent = timed(|| write(&mut here));
                            there.read_exact(&mut received).expect("every byte");
                            spent
                        };
                        (0..rounds).map(round).sum()
                    });
                });
            };
            bench("stentor", &mut |socket| {
                scratch.clear();
                frames.iter().for_each(|frame| scratch.extend_from_slice(frame));
                socket.write_all(&scratch).expect("room");
            });
            bench("vectored", &mut |socket| {
                let mut slices = [IoSlice::new(&[]); 64];
                for (slice, frame) in slices.iter_mut().zip(&frames) {
                    *slice = IoSlice::new(frame);
                }
                let written = socket.write_vectored(&slices[..count]).expect("room");
                assert_eq!(written, count * size);
            });
            bench("one_by_one", &mut |socket| {
                frames.iter().for_each(|frame| socket.write_all(frame).expect("room"));
            });
            bench("stentor_side_by_side", &mut |socket| {
                socket.write_all(&log[..count * size]).expect("room")
            });
        }
    }
    group.finish();
}

/// The two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let here = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let (there, _) = listener.accept().expect("its other end");
    here.set_nodelay(true).expect("an option");
    (here, there)
}

/// Benchmarks may ask the clock.
#[allow(clippy::disallowed_methods)]
fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

criterion_group!(benches, flush);
criterion_main!(benches);
