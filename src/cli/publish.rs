//! `stentor pub`: publishes one message, or each line of standard input, to one topic.
//!
//! Contract: exit code 0 means that the server took every message: the connection was closed in order (see
//! `stentor::client::open`) and nothing was refused. UTF-8 goes as text, anything else as binary. A line ends with `\n` or
//! `\r\n`, which are not part of the message; an empty line is an empty message. Standard input is read by a thread of its
//! own, so that a prompt nobody types at does not keep the command from noticing that the server went away.

use std::io::{self, BufRead, IsTerminal};
use std::pin::pin;

use stentor::client::{self, Purpose, Sender};
use stentor::ids::Epoch;
use stentor::{Class, Payload, PublishOptions};
use tokio::sync::mpsc;

use super::conversation::{ServerArgs, converse};
use super::failure::{Failure, Refusals, remark};

/// Lines read ahead of the connection.
const LINES_AHEAD: usize = 1024;

/// Publish one message, or each line of standard input.
#[derive(clap::Args, Debug)]
pub(crate) struct PubArgs {
    /// The topic to publish to
    topic: String,

    /// The message; without it, or with `-`, each line of standard input is one
    data: Option<String>,

    /// The topic's class, if these messages begin it: event, state, delta or best-effort
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Option<Class>,

    /// Mark each message as image: by itself all that a new subscriber needs
    #[arg(long)]
    image: bool,

    /// The number of the first message; each after it has the next
    #[arg(long, value_name = "N")]
    seq: Option<u64>,

    /// The history these messages belong to; one after the topic's begins anew
    #[arg(long, value_name = "EPOCH")]
    epoch: Option<Epoch>,

    #[command(flatten)]
    server: ServerArgs,
}

fn class(name: &str) -> Result<Class, &'static str> {
    let classes = [Class::Event, Class::State, Class::Delta, Class::BestEffort];
    classes.into_iter().find(|class| class.as_str() == name).ok_or("give event, state, delta or best-effort")
}

/// Runs the command until everything is published or Ctrl-C ends it.
pub(crate) async fn run(args: PubArgs) -> Result<(), Failure> {
    if args.topic.is_empty() {
        return Err(Failure::usage("the topic is empty; name one, for example chat.lobby"));
    }
    let options = PublishOptions { class: args.class, image: args.image, seq: args.seq, epoch: args.epoch };
    let to = Purpose::PublishTo { topic: &args.topic, options: &options };
    let (sender, receiver) = client::open(&args.server.url, to).await?;
    let messages = match args.data.filter(|data| data != "-") {
        Some(data) => one(data).await,
        None => {
            if io::stdin().is_terminal() {
                remark("each line is published; Ctrl-D ends");
            }
            lines(io::BufReader::new(io::stdin()))
        }
    };
    let mut refusals = Refusals::default();
    let sent = converse(receiver, publish(sender, &args.topic, options, messages), |text| {
        refusals.hear(text, remark)
    })
    .await?;
    remark(&format!("published {} to {}", count(refusals.accepted(sent)), args.topic));
    refusals.outcome(sent)
}

fn count(messages: u64) -> String {
    format!("{messages} message{}", if messages == 1 { "" } else { "s" })
}

/// Sends what comes until there is no more, and closes. Returns how many were sent.
async fn publish(
    mut sender: Sender,
    topic: &str,
    mut options: PublishOptions,
    mut messages: mpsc::Receiver<io::Result<Payload>>,
) -> Result<u64, Failure> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut sent = 0;
    let mut broken = None;
    loop {
        let message = match messages.try_recv() {
            Ok(message) => Some(message),
            Err(_) => {
                sender.flush().await?;
                tokio::select! {
                    message = messages.recv() => message,
                    _ = &mut interrupt => None,
                }
            }
        };
        match message {
            Some(Ok(message)) => tokio::select! {
                biased;
                _ = &mut interrupt => break,
                fed = sender.publish(topic, &message, &options) => fed?,
            },
            Some(Err(error)) => {
                broken = Some(Failure::run(format!(
                    "cannot read standard input after {}: {error}; publish the rest again",
                    count(sent)
                )));
                break;
            }
            None => break,
        }
        sent += 1;
        options.seq = options.seq.map(|seq| seq.saturating_add(1));
    }
    sender.close().await?;
    broken.map_or(Ok(sent), Err)
}

async fn one(data: String) -> mpsc::Receiver<io::Result<Payload>> {
    let (sender, messages) = mpsc::channel(1);
    // There is room for one, and the receiver is here.
    let _ = sender.send(Ok(Payload::text(data))).await;
    messages
}

/// The lines of `input`, read by a thread that ends with it, or when nobody wants more.
fn lines(mut input: impl BufRead + Send + 'static) -> mpsc::Receiver<io::Result<Payload>> {
    let (sender, messages) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let message = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(message(line)),
                Err(error) => Err(error),
            };
            let last = message.is_err();
            if sender.blocking_send(message).is_err() || last {
                return;
            }
        }
    });
    messages
}

fn message(mut line: Vec<u8>) -> Payload {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Payload::sniff(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    fn read(input: &'static [u8]) -> Vec<Payload> {
        let mut messages = lines(input);
        std::iter::from_fn(|| messages.blocking_recv()).map(Result::unwrap).collect()
    }

    #[test]
    fn a_line_is_a_message_without_its_end() {
        let expected = ["a", "", "b c", "\r d"].map(Payload::from);
        assert_eq!(read(b"a\n\nb c\r\n\r d"), expected);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn a_line_that_is_not_utf8_goes_as_binary() {
        assert_eq!(read(b"\xff\x00\n\xc3\xa9\n"), [Payload::binary(&b"\xff\0"[..]), Payload::text("\u{e9}")]);
    }

    /// Runs the command against a server that answers each message with `answer`.
    async fn publish_one(answer: Option<&'static str>) -> (Result<(), Failure>, String, Vec<Message>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut path = String::new();
            #[allow(clippy::result_large_err, reason = "the signature is the library's")]
            let note = |request: &Request, response: Response| {
                path = request.uri().to_string();
                Ok(response)
            };
            let mut socket = accept_hdr_async(stream, note).await.unwrap();
            let mut taken = Vec::new();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() {
                    continue;
                }
                taken.push(message);
                if let Some(answer) = answer {
                    socket.send(Message::text(answer)).await.unwrap();
                }
            }
            (path, taken)
        });
        let args = PubArgs {
            topic: "a/b@c \u{e9}".into(),
            data: Some("{\"x\":1}".into()),
            class: Some(Class::State),
            image: true,
            seq: Some(7),
            epoch: None,
            server: ServerArgs { url },
        };
        let result = run(args).await;
        let (path, taken) = server.await.unwrap();
        (result, path, taken)
    }

    #[tokio::test]
    async fn a_message_arrives_verbatim_on_the_encoded_path() {
        let (result, path, taken) = publish_one(None).await;
        assert_eq!(result, Ok(()));
        assert_eq!(path, "/publish/a%2Fb%40c%20%C3%A9?class=state&image=1&seq=7");
        assert_eq!(taken, [Message::text("{\"x\":1}")]);
    }

    #[tokio::test]
    async fn a_refused_message_is_a_failure() {
        let (result, ..) = publish_one(Some(r#"{"event":"error","code":"bad_topic","message":"no"}"#)).await;
        let line = result.unwrap_err().to_string();
        assert!(line.contains("1 of 1") && line.contains("bad_topic: no"), "{line}");
    }
}
