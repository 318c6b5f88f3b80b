//! The doors: accept, handshake, admission, and handing sockets over to shards. On threads of their own, so that
//! a storm of reconnecting clients does not move the latency of those who are connected; and at a pace while
//! something is being delivered, since threads share cores.

pub(crate) mod admission;
pub(crate) mod entrances;
mod handshake;
pub(crate) mod refusal;

use crate::clock::{self, Moment};
use crate::config::Settings;
use crate::limits::REFUSALS_MAX;
use crate::mailbox::Refused;
use crate::message::wire::Wire;
use crate::shard::command::Command;
use crate::shard::directory::{Directory, ShardHandle};
use crate::transport::paced::{Paced, STEP};
use admission::{Admitted, NoSeat, Seat, Seats};
use entrances::Entrances;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

/// How long after a delivery handshakes still go at a pace.
const DELIVERING: Duration = Duration::from_secs(1);
/// How long the doors rest when the system has no descriptor left.
const EXHAUSTED_REST: Duration = Duration::from_millis(50);

/// Accepts until told to stop, dealing each admitted socket to the shard with the fewest.
pub(crate) async fn accept(
    entrances: Entrances,
    directory: Arc<Directory>,
    settings: Arc<Settings>,
    mut seats: Seats,
    mut stop: watch::Receiver<bool>,
) {
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let per_s = settings.limits.handshakes_per_s.saturating_mul(settings.door_count() as u32);
    // They are accepted all the same: a full listen queue would cost a client a second.
    let mut waiting = Paced::new(per_s, clock::now());
    loop {
        let is_paced = per_s > 0 && is_delivering(&directory);
        while let Some(knocking) = if is_paced { waiting.next(clock::now()) } else { waiting.pop() } {
            let (directory, settings) = (directory.clone(), settings.clone());
            tokio::spawn(async move { admit(knocking, &directory, &settings).await });
        }
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = entrances.accept() => accepted,
            () = tokio::time::sleep(STEP), if !waiting.is_empty() => continue,
        };
        let (stream, peer, wire) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept; resting for a moment");
                tokio::time::sleep(EXHAUSTED_REST).await;
                continue;
            }
        };
        match seats.take(peer.ip()) {
            Ok(seat) => waiting.push(Knocking { stream, peer, wire, seat }),
            Err(no_seat) => {
                // Whoever is over even this bound is closed unanswered: it must not cost us the others.
                let Ok(permit) = refusals.clone().try_acquire_owned() else { continue };
                let limit = Duration::from_secs(settings.limits.handshake_s);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(limit, refusal::refuse_unheard(stream, wire, no_seat)).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Who has a seat and waits to be let in.
#[derive(Debug)]
struct Knocking {
    stream: TcpStream,
    peer: SocketAddr,
    wire: Wire,
    seat: Seat,
}

/// Performs the handshake and hands the socket to a shard, all within the handshake's time.
async fn admit(knocking: Knocking, directory: &Directory, settings: &Settings) {
    let peer = knocking.peer;
    let admitted = async {
        let shaken = match knocking.wire {
            Wire::WebSocket => handshake::perform(knocking, settings).await,
            Wire::Tcp | Wire::Udp => handshake::omit(knocking),
        };
        match shaken {
            Ok(admitted) => deal(admitted, directory).await,
            Err(refused) => tracing::debug!(%peer, reason = %refused, "handshake refused"),
        }
    };
    if tokio::time::timeout(Duration::from_secs(settings.limits.handshake_s), admitted).await.is_err() {
        tracing::debug!(%peer, "handshake timed out");
    }
}

/// Gives a socket to the shard with the fewest; says so to the client if that cannot take it now.
async fn deal(mut admitted: Admitted, directory: &Directory) {
    let returned = match least_loaded(directory) {
        None => admitted,
        Some(shard) => {
            admitted.seat = admitted.seat.on_shard(&shard.seats);
            match shard.commands.post(Command::Adopt(Box::new(admitted))) {
                Err(Refused::Full(Command::Adopt(back)) | Refused::Closed(Command::Adopt(back))) => *back,
                _ => return,
            }
        }
    };
    if let Ok(stream) = TcpStream::from_std(returned.stream) {
        let wire = returned.target.encoding.wire();
        refusal::send(stream, &refusal::no_seat(wire, NoSeat::Busy)).await;
    }
}

/// The shard with the fewest connections, of those that run.
fn least_loaded(directory: &Directory) -> Option<ShardHandle> {
    let shards = directory.load();
    shards.iter().filter(|shard| !shard.commands.is_closed()).min_by_key(|shard| shard.load()).cloned()
}

/// True exactly when some shard has delivered something just now: whoever gets it shares the cores with us.
fn is_delivering(directory: &Directory) -> bool {
    let (now, never) = (clock::now(), Moment::default());
    let swept = |shard: &ShardHandle| shard.swept.load();
    directory.load().iter().map(swept).any(|swept| swept > never && now.since(swept) < DELIVERING)
}

/// Errors of `accept` that say something about the connection and nothing about us.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
