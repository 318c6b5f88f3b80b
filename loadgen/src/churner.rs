//! One connection that subscribes and unsubscribes over and over, and checks every word of what it gets meanwhile.
//!
//! Contract: the server says where a subscription begins: the ack's `seq` is the topic's head, so that the next message is the one
//! after it. From there nothing may be missing, repeated or out of order; before unsubscribing the server is asked for the head
//! once more (`list`), and everything up to there must have come. Behind the ack of the unsubscription nothing may come.
//! The run's first message has the sequence `head + 1`, where `head` was read before anything was published.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clock::Clock;
use crate::handshake::Opened;
use crate::limits::ACK_TIMEOUT;
use crate::session::{Ended, Session};
use crate::stamp::Scanner;

/// What one of them, or all together, found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    /// Subscriptions that were begun and ended.
    pub(crate) cycles: u64,
    /// Messages within them.
    pub(crate) received: u64,
    /// Messages that had not come when the server said that the topic was past them.
    pub(crate) missing: u64,
    /// Messages that were skipped, repeated or out of order.
    pub(crate) misplaced: u64,
    /// Messages outside of any subscription.
    pub(crate) stray: u64,
}

/// What ended one before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("the server did not answer an operation within {} s", ACK_TIMEOUT.as_secs())]
    Silent,
    #[error("the server refused an operation: {0}")]
    Refused(String),
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Churner {
    session: Session,
    topic: String,
    operations: u64,
    /// The stamp's sequence that must come next; absent exactly when nothing is subscribed.
    next: Option<u64>,
    found: Found,
}

/// An ack or an error, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Answer {
    event: String,
    id: Option<u64>,
    #[serde(default)]
    ok: Vec<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    topic: String,
    seq: Option<u64>,
}

enum Heard {
    Answer(Answer, String),
    /// A message, or an event that nobody waits for.
    Other,
}

impl Churner {
    /// On an open connection without subscriptions.
    pub(crate) async fn new(opened: Opened, topic: &str) -> Self {
        let session = Session::new(opened).await;
        Self { session, topic: topic.to_owned(), operations: 0, next: None, found: Found::default() }
    }

    /// The topic's head, by a subscription that is given back at once.
    pub(crate) async fn head(&mut self) -> Result<u64, Broken> {
        let head = self.operate("subscribe").await?;
        self.operate("unsubscribe").await?;
        Ok(head.unwrap_or_default())
    }

    /// Subscribes for `hold`, rests as long, and again, until `end_ns`; `head` was the topic's before the run.
    pub(crate) async fn churn(
        &mut self,
        head: u64,
        hold: Duration,
        end_ns: u64,
        clock: Clock,
    ) -> Result<(), Broken> {
        while clock.now_ns() < end_ns {
            let begin = self.operate("subscribe").await?.unwrap_or_default();
            self.next = Some(begin.saturating_sub(head));
            self.listen(hold).await?;
            let told = self.operate("list").await?.unwrap_or_default().saturating_sub(head);
            let missing = self.next.map_or(0, |next| told.saturating_sub(next));
            self.found.missing += missing;
            self.operate("unsubscribe").await?;
            self.next = None;
            self.found.cycles += 1;
            self.listen(hold.min(clock.until(end_ns))).await?;
        }
        Ok(())
    }

    /// What it found.
    pub(crate) fn found(self) -> Found {
        self.found
    }

    /// Sends an operation and waits for its ack; gives the topic's sequence where the ack tells it.
    async fn operate(&mut self, operation: &str) -> Result<Option<u64>, Broken> {
        self.operations += 1;
        let id = self.operations;
        let request = match operation {
            "list" => json!({ "op": operation, "id": id }),
            _ => json!({ "op": operation, "id": id, "args": [self.topic] }),
        };
        self.session.say(&request).await?;
        let answered = async {
            loop {
                match self.hear().await? {
                    Heard::Answer(answer, text) if answer.id == Some(id) => {
                        let place = answer.ok.into_iter().find(|place| place.topic == self.topic);
                        return match place {
                            Some(place) if answer.event == "ack" => Ok(place.seq),
                            _ => Err(Broken::Refused(text)),
                        };
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(ACK_TIMEOUT, answered).await.unwrap_or(Err(Broken::Silent))
    }

    /// Takes what comes within that time.
    async fn listen(&mut self, time: Duration) -> Result<(), Broken> {
        let listening = async {
            loop {
                self.hear().await?;
            }
        };
        tokio::time::timeout(time, listening).await.unwrap_or(Ok(()))
    }

    async fn hear(&mut self) -> Result<Heard, Broken> {
        let said = self.session.hear().await?;
        let mut stamp = None;
        Scanner::default().scan(&said, &mut |found| stamp = Some(found));
        match stamp {
            Some(stamp) => {
                self.note(u64::from(stamp.seq));
                Ok(Heard::Other)
            }
            None => Ok(match serde_json::from_slice(&said) {
                Ok(answer) => Heard::Answer(answer, String::from_utf8_lossy(&said).into_owned()),
                Err(_) => Heard::Other,
            }),
        }
    }

    fn note(&mut self, seq: u64) {
        match &mut self.next {
            None => self.found.stray += 1,
            Some(next) => {
                self.found.received += 1;
                self.found.misplaced += u64::from(seq != *next);
                *next = (*next).max(seq + 1);
            }
        }
    }
}

impl Found {
    /// Adds what another found.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.received += other.received;
        self.missing += other.missing;
        self.misplaced += other.misplaced;
        self.stray += other.stray;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{Payload, STAMP_BYTES, Stamp};
    use crate::target::wire::Wire;
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    type Peer = WebSocketStream<TcpStream>;

    async fn pair() -> (Churner, Peer) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        peer.set_nodelay(true).unwrap();
        let opened = Opened { stream, early: Vec::new(), wire: Wire::WebSocket };
        (Churner::new(opened, "t").await, Peer::from_raw_socket(peer, Role::Server, None).await)
    }

    async fn say(peer: &mut Peer, seq: u32) {
        let payload = Payload::new(64);
        let mut bytes = payload.as_bytes().to_vec();
        let stamp = Stamp { intended_ns: 0, topic: 0, seq }.to_bytes();
        bytes[payload.stamp_at()..][..STAMP_BYTES].copy_from_slice(&stamp);
        peer.send(Message::text(String::from_utf8(bytes).unwrap())).await.unwrap();
    }

    /// Answers the next operation with this sequence.
    async fn ack(peer: &mut Peer, seq: u64) {
        let asked: serde_json::Value = match peer.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        };
        let place = json!({ "topic": "t", "seq": seq });
        let ack = json!({ "event": "ack", "op": asked["op"], "id": asked["id"], "ok": [place], "err": [] });
        peer.send(Message::text(ack.to_string())).await.unwrap();
    }

    /// One cycle that begins when the head was 100 before the run and is 105 now.
    async fn cycle(messages: &[u32], told: u64, stray: Option<u32>) -> Found {
        let (mut churner, mut peer) = pair().await;
        let clock = Clock::start();
        let serve = async {
            ack(&mut peer, 105).await;
            for seq in messages {
                say(&mut peer, *seq).await;
            }
            ack(&mut peer, told).await;
            ack(&mut peer, 0).await;
            if let Some(seq) = stray {
                say(&mut peer, seq).await;
            }
        };
        // Longer than the time there is: one cycle.
        let hold = Duration::from_millis(20);
        let (churned, ()) = tokio::join!(churner.churn(100, hold, clock.now_ns() + 10_000_000, clock), serve);
        churned.unwrap();
        // What came behind the last ack is heard when it is asked for.
        churner.listen(hold).await.unwrap();
        churner.found()
    }

    #[tokio::test]
    async fn what_begins_behind_the_ack_and_reaches_the_head_is_clean() {
        let clean = Found { cycles: 1, received: 3, ..Found::default() };
        assert_eq!(cycle(&[5, 6, 7], 108, None).await, clean);
        assert_eq!(cycle(&[], 105, None).await, Found { cycles: 1, ..Found::default() });
    }

    #[tokio::test]
    async fn what_is_missing_misplaced_or_stray_is_counted() {
        assert_eq!(cycle(&[5, 6], 108, None).await.missing, 1);
        assert_eq!(cycle(&[6, 7], 108, None).await.misplaced, 1);
        assert_eq!(cycle(&[5, 5, 6], 107, None).await.misplaced, 1);
        assert_eq!(cycle(&[5], 106, Some(6)).await.stray, 1);
    }
}
