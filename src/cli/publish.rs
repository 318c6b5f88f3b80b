//! `stentor pub`: publishes one message, or each line of standard input, to one topic.
//!
//! Contract: exit code 0 means that the server took every message: the connection was closed in order (see
//! [`client`](super::client)) and nothing was refused. UTF-8 goes as text, anything else as binary. A line ends with `\n` or
//! `\r\n`, which are not part of the message; an empty line is an empty message. Standard input is read by a thread of its
//! own, so that a prompt nobody types at does not keep the command from noticing that the server went away.

use std::io::{self, BufRead, IsTerminal};
use std::pin::pin;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc;

use super::client::{self, Message, Sender, ServerArgs};
use super::failure::{Failure, Refusals, remark};

/// What a path segment need not escape (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
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
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,

    /// Mark each message as image: by itself all that a new subscriber needs
    #[arg(long)]
    image: bool,

    /// The number of the first message; each after it has the next
    #[arg(long, value_name = "N")]
    seq: Option<u64>,

    /// The history these messages belong to; one after the topic's begins anew
    #[arg(long, value_name = "EPOCH")]
    epoch: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl PubArgs {
    /// What to open on the server.
    fn path(&self) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let class = self.class.as_ref().map(|class| format!("class={}", escaped(class)));
        let image = self.image.then(|| "image=1".to_owned());
        let seq = self.seq.map(|seq| format!("seq={seq}"));
        let epoch = self.epoch.as_ref().map(|epoch| format!("epoch={}", escaped(epoch)));
        let query: Vec<_> = [class, image, seq, epoch].into_iter().flatten().collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/publish/{}{mark}{}", escaped(&self.topic), query.join("&"))
    }
}

/// Runs the command until everything is published or Ctrl-C ends it.
pub(crate) async fn run(args: PubArgs) -> Result<(), Failure> {
    if args.topic.is_empty() {
        return Err(Failure::usage("the topic is empty; name one, for example chat.lobby"));
    }
    let (sender, receiver) = client::connect(&args.server.url, &args.path()).await?;
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
    let sent = receiver.converse(publish(sender, messages), |text| refusals.hear(text, remark)).await?;
    remark(&format!("published {} to {}", count(refusals.accepted(sent)), args.topic));
    refusals.outcome(sent)
}

fn count(messages: u64) -> String {
    format!("{messages} message{}", if messages == 1 { "" } else { "s" })
}

/// Sends what comes until there is no more, and closes. Returns how many were sent.
async fn publish(
    mut sender: Sender,
    mut messages: mpsc::Receiver<io::Result<Message>>,
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
                fed = sender.feed(message) => fed?,
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
    }
    sender.close().await?;
    broken.map_or(Ok(sent), Err)
}

async fn one(data: String) -> mpsc::Receiver<io::Result<Message>> {
    let (sender, messages) = mpsc::channel(1);
    // There is room for one, and the receiver is here.
    let _ = sender.send(Ok(Message::text(data))).await;
    messages
}

/// The lines of `input`, read by a thread that ends with it, or when nobody wants more.
fn lines(mut input: impl BufRead + Send + 'static) -> mpsc::Receiver<io::Result<Message>> {
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

fn message(mut line: Vec<u8>) -> Message {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    match String::from_utf8(line) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    fn read(input: &'static [u8]) -> Vec<Message> {
        let mut messages = lines(input);
        std::iter::from_fn(|| messages.blocking_recv()).map(Result::unwrap).collect()
    }

    #[test]
    fn a_line_is_a_message_without_its_end() {
        let expected = ["a", "", "b c", "\r d"].map(Message::text);
        assert_eq!(read(b"a\n\nb c\r\n\r d"), expected);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn a_line_that_is_not_utf8_goes_as_binary() {
        assert_eq!(read(b"\xff\x00\n\xc3\xa9\n"), [Message::binary(&b"\xff\0"[..]), Message::text("\u{e9}")]);
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
            class: Some("state".into()),
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
