//! What `pub` and `replay` do with a connection: send without waiting, and take in what the server says meanwhile.

use super::failure::Failure;
use std::pin::pin;
use stentor::client::{CLOSE_WAIT, ClientError, EXPLANATION_WAIT, Heard, Receiver};
use tokio::time::{Instant, sleep_until};

/// The server a command talks to.
#[derive(clap::Args, Debug)]
pub(crate) struct ServerArgs {
    // Hidden in the help: it may hold a token.
    /// The server, as ws://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT; what follows with ws:// (a path prefix, ?token=…) goes with every request
    #[arg(
        long = "url",
        value_name = "URL",
        env = "STENTOR_URL",
        hide_env_values = true,
        default_value = "ws://127.0.0.1:7400"
    )]
    pub(crate) url: String,
}

/// Runs `sending`, which must end by closing its sender, hands `hear` each text that comes meanwhile, and returns what
/// `sending` returned once the server has answered the close. A second Ctrl-C stops the waiting (the first is for `sending`
/// to notice).
pub(crate) async fn converse<T>(
    mut receiver: Receiver,
    sending: impl Future<Output = Result<T, Failure>>,
    mut hear: impl FnMut(&str),
) -> Result<T, Failure> {
    let mut sending = pin!(sending);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut interrupts = 0;
    let mut outcome: Option<Result<T, Failure>> = None;
    let mut deadline = Instant::now();
    let unconfirmed = |why: &str| Failure::from(ClientError::Unconfirmed(why.to_owned()));
    loop {
        tokio::select! {
            // Hearing comes first: a close explains the failed write it causes.
            biased;
            heard = receiver.next() => match (heard, outcome) {
                (Ok(Heard::Text(text)), unchanged) => {
                    hear(&text);
                    outcome = unchanged;
                }
                (Ok(Heard::Data { .. }), unchanged) => outcome = unchanged,
                (Ok(Heard::Closed(closed)), Some(outcome)) if closed.is_normal() => return outcome,
                (Ok(Heard::Closed(closed)), _) => return Err(ClientError::Closed { closed }.into()),
                (Err(_), Some(Err(failure))) => return Err(failure),
                (Err(error), None) => return Err(error.into()),
                (Err(_), Some(Ok(_))) => return Err(unconfirmed("the connection ended without a close")),
            },
            result = &mut sending, if outcome.is_none() => {
                let wait = if result.is_ok() { CLOSE_WAIT } else { EXPLANATION_WAIT };
                deadline = Instant::now() + wait;
                outcome = Some(result);
            }
            () = sleep_until(deadline), if outcome.is_some() => {
                return match outcome {
                    Some(Err(failure)) => Err(failure),
                    _ => Err(unconfirmed("the server did not answer the close within 30 s")),
                };
            }
            _ = &mut interrupt => {
                interrupts += 1;
                if interrupts > 1 {
                    return Err(unconfirmed("interrupted"));
                }
                interrupt.set(tokio::signal::ctrl_c());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use stentor::client::{Purpose, open};
    use stentor::{Payload, PublishOptions};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

    const PLAIN: &PublishOptions = &PublishOptions { class: None, image: false, seq: None, epoch: None };
    const TO: Purpose<'static> = Purpose::PublishTo { topic: "t", options: PLAIN };

    /// Listens on a port of its own, and says how to reach it.
    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_what_to_do() {
        let (listener, url) = listener().await;
        drop(listener);
        let line = open(&url, TO).await.err().unwrap().to_string();
        assert!(line.contains(&url) && line.contains("stentor demo"), "{line}");
    }

    #[tokio::test]
    async fn a_refused_handshake_shows_status_and_body() {
        let (listener, url) = listener().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 17\r\n\r\npublishers only\r\n";
            stream.write_all(answer).await.unwrap();
        };
        let (_, refused) = tokio::join!(server, open(&url, TO));
        let line = refused.err().unwrap().to_string();
        assert!(line.contains("403 Forbidden: publishers only; "), "{line}");
    }

    /// Sends three texts and closes, against a server that answers each and then closes with `code`.
    async fn exchange(code: Option<CloseCode>) -> (Result<u32, Failure>, Vec<String>) {
        let (listener, url) = listener().await;
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    // Refused once it has closed.
                    let _ = socket.send(message).await;
                    if let Some(code) = code {
                        let frame = CloseFrame { code, reason: "because".into() };
                        let _ = socket.close(Some(frame)).await;
                    }
                }
            }
        };
        let client = async {
            let (mut sender, receiver) = open(&url, TO).await?;
            let mut heard = Vec::new();
            let sending = async {
                for n in 0..3 {
                    sender.publish("t", &Payload::text(n.to_string()), PLAIN).await?;
                }
                sender.close().await?;
                Ok(3)
            };
            let result = converse(receiver, sending, |text| heard.push(text.to_owned())).await;
            Ok::<_, Failure>((result, heard))
        };
        let (_, result) = tokio::join!(server, client);
        result.unwrap()
    }

    #[tokio::test]
    async fn a_conversation_ends_when_the_server_has_answered_everything_and_the_close() {
        let (result, heard) = exchange(None).await;
        assert_eq!(result, Ok(3));
        assert_eq!(heard, ["0", "1", "2"]);
    }

    #[tokio::test]
    async fn a_close_by_the_server_is_reported_with_code_reason_and_advice() {
        let (result, _) = exchange(Some(CloseCode::Library(4502))).await;
        let line = result.unwrap_err().to_string();
        assert!(line.contains("4502 because") && line.contains("token"), "{line}");
    }
}
