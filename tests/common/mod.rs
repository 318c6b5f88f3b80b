//! What the integration tests share: a server in this process on free ports, a WebSocket client, a client of raw
//! bytes for what no library would send, and HTTP for the operator's port.
//!
//! Nothing here sleeps for luck: whatever is awaited is awaited by name, and fails after [`PATIENCE`].

// Each test binary uses its own part of this.
#![allow(dead_code)]
// A failed helper is a failed test.
#![allow(clippy::unwrap_used)]

pub(crate) mod any;
pub(crate) mod framed;
pub(crate) mod process;
pub(crate) mod tcp;
pub(crate) mod udp;

use any::{AnyClient, Wire, message};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use stentor::{Publisher, Server, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long anything may take before the test fails with what it waited for: longer than a busy machine stands still.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where clients come from, unless a test says otherwise: all of 127.0.0.0/8 is this machine.
pub(crate) const HOME: [u8; 4] = [127, 0, 0, 1];

/// A connection from an address of this machine.
pub(crate) async fn stream_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// Awaits, and fails by name.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Asks again until the answer is yes, and fails by name.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    eventually_some(what, || {
        let answer = is_so();
        async { answer.await.then_some(()) }
    })
    .await;
}

/// Tries again until there is something, and fails by name.
pub(crate) async fn eventually_some<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let found = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, found).await
}

/// Where a server's clients come, by each transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) websocket: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
}

impl Addresses {
    pub(crate) fn urls(&self) -> [String; 3] {
        [format!("ws://{}", self.websocket), format!("tcp://{}", self.tcp), format!("udp://{}", self.udp)]
    }
}

impl From<&TestServer> for Addresses {
    fn from(server: &TestServer) -> Self {
        server.at
    }
}

/// A running server; dropping it ends it.
pub(crate) struct TestServer {
    server: Option<Server>,
    pub(crate) at: Addresses,
    pub(crate) operator: SocketAddr,
}

impl TestServer {
    /// With default settings and two shards.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With default settings and two shards, changed by `change`; the ports are free ones whatever it says.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { shards: 2, doors: 1, ..Settings::default() };
        change(&mut settings);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ports = Server::builder().settings(settings).listen(any).tcp(any).udp(any).admin(any);
        Self::of(ports.start().unwrap())
    }

    /// In the place of one that has ended, as far as `scheme` reaches it.
    pub(crate) fn at(address: SocketAddr, scheme: &str) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let [websocket, tcp, udp] = ["ws", "tcp", "udp"].map(|one| if one == scheme { address } else { any });
        let ports = Server::builder().shards(1).listen(websocket).tcp(tcp).udp(udp).admin(any);
        Self::of(ports.start().unwrap())
    }

    fn of(server: Server) -> Self {
        let (tcp, udp) = (server.tcp_address().unwrap(), server.udp_address().unwrap());
        let at = Addresses { websocket: server.websocket_address(), tcp, udp };
        let operator = server.operator_address();
        Self { server: Some(server), at, operator }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.server.as_ref().unwrap().publisher()
    }

    /// Publishes a text and waits for its sequence.
    pub(crate) async fn publish(&self, topic: &str, text: impl Into<String>) -> u64 {
        let publisher = self.publisher();
        let published = publisher.publish_and_wait(topic, text.into());
        within("a publish to be sequenced", published).await.unwrap().seq
    }

    /// Ends in order; returns when it has.
    pub(crate) async fn shutdown(mut self) {
        let server = self.server.take().unwrap();
        tokio::task::spawn_blocking(move || server.shutdown()).await.unwrap();
    }

    /// The history that a topic has now.
    pub(crate) async fn epoch_of(&self, topic: &str) -> String {
        self.get(&format!("/topics/{topic}")).await.json()["epoch"].as_str().unwrap().to_owned()
    }

    /// A WebSocket client on this path.
    pub(crate) async fn connect(&self, path: &str) -> Client {
        self.connect_with(path, &[]).await
    }

    /// The same with headers of its own.
    pub(crate) async fn connect_with(&self, path: &str, headers: &[(&str, &str)]) -> Client {
        Client::shake(stream_from(HOME, self.at.websocket).await, path, headers)
            .await
            .unwrap_or_else(|error| panic!("handshake on {path}: {error}"))
    }

    /// A connection on which nothing has been said yet.
    pub(crate) async fn raw(&self) -> RawClient {
        self.raw_from(HOME).await
    }

    /// The same on the TCP port.
    pub(crate) async fn raw_tcp(&self) -> RawClient {
        RawClient::of(stream_from(HOME, self.at.tcp).await)
    }

    /// The same from another address.
    pub(crate) async fn raw_from(&self, address: [u8; 4]) -> RawClient {
        RawClient::of(stream_from(address, self.at.websocket).await)
    }

    /// A connection of raw bytes that is past the handshake.
    pub(crate) async fn raw_upgraded(&self, path: &str) -> RawClient {
        self.raw().await.upgraded(path).await
    }

    /// The same with a receive buffer of 4 KiB, so that what it does not read soon stays with the server.
    pub(crate) async fn raw_narrow(&self, path: &str) -> RawClient {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let stream = within("a connection", socket.connect(self.at.websocket)).await.unwrap();
        RawClient::of(stream).upgraded(path).await
    }

    /// What the WebSocket port answers to an upgrade that it is expected to refuse.
    pub(crate) async fn refused(&self, path: &str) -> HttpAnswer {
        let mut raw = self.raw().await;
        let answer = raw.upgrade(path).await;
        assert_ne!(answer.status, 101, "{path} was taken");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> HttpAnswer {
        self.http("GET", path, &[], Vec::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> HttpAnswer {
        self.http("DELETE", path, &[], Vec::new()).await
    }

    /// What the operator sees of this client.
    pub(crate) async fn view_of(&self, client: &AnyClient) -> Option<Value> {
        self.view_at(client.address()).await
    }

    /// The same of whoever has this address.
    pub(crate) async fn view_at(&self, address: SocketAddr) -> Option<Value> {
        let address = address.to_string();
        let listed = self.get("/connections?limit=10000").await.json()["connections"].take();
        listed.as_array().unwrap().iter().find(|one| one["address"] == *address).cloned()
    }

    /// Waits until the server closes these. They are to read it within five seconds, lest they are reset.
    pub(crate) async fn until_given_up(&self, clients: &[AnyClient]) {
        for client in clients {
            eventually("a client to be given up", async || {
                self.view_of(client).await.expect("reset before it was read")["state"] == "closing"
            })
            .await;
        }
    }

    /// Has the operator close this client; its id.
    pub(crate) async fn close(&self, client: &AnyClient) -> String {
        let id = self.view_of(client).await.unwrap()["id"].as_str().unwrap().to_owned();
        let deleted = self.delete(&format!("/connections/{id}")).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        id
    }

    /// Posts a body to the operator's port.
    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Vec<u8>>,
    ) -> HttpAnswer {
        let headers: Vec<_> = content_type.into_iter().map(|value| ("content-type", value)).collect();
        self.http("POST", path, &headers, body.into()).await
    }

    /// Asks the operator's port with a library that we did not write.
    pub(crate) async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> HttpAnswer {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.operator));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let has_body = method == "POST";
        let asked = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(PATIENCE))
                .build()
                .into();
            let response = if has_body {
                agent.run(request.body(body).unwrap())
            } else {
                agent.run(request.body(()).unwrap())
            };
            let mut response = response.unwrap();
            let headers = response
                .headers()
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect();
            let status = response.status().as_u16();
            HttpAnswer { status, headers, body: response.body_mut().read_to_vec().unwrap() }
        });
        within(&format!("{method} {path}"), asked).await.unwrap()
    }

    /// A metric, summed over all series that carry these labels (`reason="panic"`); 0 when there is none.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        sum_of_series(&answer.text(), name, labels).unwrap_or(0.0)
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until_metric(&self, name: &str, labels: &[&str], value: f64) {
        eventually(&format!("{name}{labels:?} to be {value}"), async || {
            (self.metric(name, labels).await - value).abs() < 0.5
        })
        .await;
    }
}

/// The sum of a metric's series that carry these labels, from Prometheus text; `None` where there is no series.
pub(crate) fn sum_of_series(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next() == Some(name))
        .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
        .map(|(_, value)| value.parse().unwrap())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// An HTTP answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A WebSocket client.
pub(crate) struct Client {
    stream: WebSocketStream<TcpStream>,
    /// What the server chose.
    pub(crate) subprotocol: Option<String>,
}

impl Client {
    /// Past its handshake on this path, with headers of its own.
    pub(crate) async fn shake(
        stream: TcpStream,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let host = stream.peer_addr().unwrap();
        let mut request = format!("ws://{host}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let shaken = tokio_tungstenite::client_async(request, stream);
        let (stream, response) = within("the handshake", shaken).await?;
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        Ok(Self { stream, subprotocol: header("sec-websocket-protocol") })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().unwrap()
    }

    /// What lies below.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    pub(crate) async fn send(&mut self, message: Message) {
        within("a message to be sent", self.stream.send(message)).await.unwrap();
    }

    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    pub(crate) async fn send_json(&mut self, operation: Value) {
        self.send_text(operation.to_string()).await;
    }

    /// The next frame of any kind, except pings of the server (the library answers them); `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.next_named("the next message").await
    }

    /// The same, failing with `what` was awaited.
    pub(crate) async fn next_named(&mut self, what: &str) -> Option<Message> {
        loop {
            match within(what, self.stream.next()).await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(error)) => panic!("waiting for {what}: {error}"),
                None => return None,
            }
        }
    }

    pub(crate) async fn next_text(&mut self, what: &str) -> String {
        match self.next_named(what).await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("waiting for {what}, a text, there came {other:?}"),
        }
    }

    pub(crate) async fn next_binary(&mut self, what: &str) -> Vec<u8> {
        match self.next_named(what).await {
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            other => panic!("waiting for {what}, binary, there came {other:?}"),
        }
    }

    pub(crate) async fn next_json(&mut self, what: &str) -> Value {
        let text = self.next_text(what).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("waiting for {what}: {error} in {text}"))
    }

    /// The close frame the server sends: its code and reason. Nothing else may come first.
    pub(crate) async fn next_close(&mut self, what: &str) -> (u16, String) {
        match self.next_named(what).await {
            Some(Message::Close(Some(CloseFrame { code, reason }))) => (code.into(), reason.to_string()),
            other => panic!("waiting for {what}, a close, there came {other:?}"),
        }
    }

    /// The end of the connection, whatever comes before it; the close code where one came.
    pub(crate) async fn until_closed(&mut self) -> Option<u16> {
        let mut code = None;
        let ended = async {
            while let Some(Ok(message)) = self.stream.next().await {
                if let Message::Close(Some(frame)) = message {
                    code = Some(frame.code.into());
                }
            }
        };
        within("the connection to end", ended).await;
        code
    }

    /// Sends an operation and returns its answer, which is the next message.
    pub(crate) async fn ask(&mut self, operation: Value) -> Value {
        let what = format!("the answer to {operation:.200}");
        self.send_json(operation).await;
        self.next_json(&what).await
    }

    /// Subscribes, waits for the ack, and fails unless every topic was granted.
    pub(crate) async fn subscribe(&mut self, topics: &[&str]) -> Value {
        let ack = self.ask(json!({"op": "subscribe", "args": topics})).await;
        assert_eq!(ack["event"], "ack", "{ack}");
        assert_eq!(ack["op"], "subscribe", "{ack}");
        assert_eq!(ack["err"], json!([]), "{ack}");
        assert_eq!(ack["ok"].as_array().map(Vec::len), Some(topics.len()), "{ack}");
        ack
    }

    /// Proves that nothing but `expected` is on its way: what is published now to a topic of its own comes right
    /// behind it, since all topics of a connection come through one FIFO.
    pub(crate) async fn expect_only(&mut self, server: &TestServer, expected: &[&str]) {
        self.send_json(json!({"op": "subscribe", "args": ["expect.only"]})).await;
        let mut came = Vec::new();
        loop {
            let text = self.next_text("the ack behind what was expected").await;
            if text.contains(r#""event":"ack""#) && text.contains("expect.only") {
                break;
            }
            came.push(text);
        }
        server.publish("expect.only", "\"end\"").await;
        loop {
            let text = self.next_text("the mark behind what was expected").await;
            if text.contains("\"end\"") {
                break;
            }
            came.push(text);
        }
        assert_eq!(came, expected);
        self.send_json(json!({"op": "unsubscribe", "args": ["expect.only"]})).await;
        let ack = self.next_json("the ack of leaving the mark's topic").await;
        assert_eq!(ack["op"], "unsubscribe", "{ack}");
    }

    /// Closes normally and waits for the answer and the end.
    pub(crate) async fn close(mut self) -> Option<u16> {
        within("a close to be sent", self.stream.close(None)).await.unwrap();
        self.until_closed().await
    }

    /// Closes with this code and reason; the caller awaits the answer.
    pub(crate) async fn send_close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        within("a close to be sent", self.stream.close(Some(frame))).await.unwrap();
    }
}

/// A subscriber who minds his own business: whatever others do, he gets every message.
pub(crate) struct Bystander {
    client: AnyClient,
    count: u64,
}

impl Bystander {
    pub(crate) async fn on(server: &TestServer) -> Self {
        Self::by(server, Wire::WebSocket).await
    }

    pub(crate) async fn by(server: &TestServer, wire: Wire) -> Self {
        let mut client = AnyClient::connect(server, wire).await;
        client.subscribe(&["bystander"]).await;
        let mut bystander = Self { client, count: 0 };
        bystander.check(server).await;
        bystander
    }

    /// Publishes the next number: it must come, and nothing else.
    pub(crate) async fn check(&mut self, server: &TestServer) {
        self.count += 1;
        let seq = server.publish("bystander", self.count.to_string()).await;
        assert_eq!(seq, self.count);
        self.client.expect(&[message("bystander", seq, self.count)]).await;
    }
}

/// Continuation, text, binary, close, ping, pong.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
/// The bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;

/// A frame's header: `first` byte, the payload's length, masked or not (the key is four zeros: it hides nothing).
pub(crate) fn frame_header(first: u8, len: u64, is_masked: bool) -> Vec<u8> {
    let mask_bit = if is_masked { 0x80 } else { 0 };
    let mut header = vec![first];
    match len {
        0..=125 => header.push(mask_bit | len as u8),
        126..=0xFFFF => {
            header.push(mask_bit | 126);
            header.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend_from_slice(&len.to_be_bytes());
        }
    }
    if is_masked {
        header.extend_from_slice(&[0; 4]);
    }
    header
}

/// A masked frame, as a client sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_header(first, payload.len() as u64, true);
    frame.extend_from_slice(payload);
    frame
}

/// A frame as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Final bit, reserved bits and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// The code of a close frame.
    pub(crate) fn close_code(&self) -> u16 {
        assert_eq!(self.first, FIN | CLOSE, "not a close: {self:?}");
        u16::from_be_bytes(self.payload[..2].try_into().unwrap())
    }
}

/// A client of raw bytes.
pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
    /// Read and not yet used.
    read: Vec<u8>,
}

impl RawClient {
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within("raw bytes to be written", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Writes what the server may well refuse midway: errors are for the reading side to tell.
    pub(crate) async fn write_unless_closed(&mut self, bytes: &[u8]) -> bool {
        within("raw bytes to be written", self.stream.write_all(bytes)).await.is_ok()
    }

    /// The same past the handshake.
    async fn upgraded(mut self, path: &str) -> Self {
        let answer = self.upgrade(path).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        self
    }

    /// Asks for an upgrade by hand, and returns the answer.
    pub(crate) async fn upgrade(&mut self, path: &str) -> HttpAnswer {
        let request = upgrade_request(path, "");
        self.write(request.as_bytes()).await;
        self.http_answer().await
    }

    /// Reads an HTTP answer: the head, and the body by its length or to the end.
    pub(crate) async fn http_answer(&mut self) -> HttpAnswer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(self.read_more("the head of an HTTP answer").await, "closed without an answer");
        };
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        self.read.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = HttpAnswer { status, headers, body: Vec::new() };
        if status != 101 {
            let len: usize = answer.header("content-length").map_or(usize::MAX, |len| len.parse().unwrap());
            while self.read.len() < len && self.read_more("the body of an HTTP answer").await {}
            answer.body = std::mem::take(&mut self.read);
        }
        answer
    }

    /// The next frame, or `None` at the end of the connection.
    pub(crate) async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, len)) = parse_frame(&self.read) {
                self.read.drain(..len);
                return Some(frame);
            }
            if !self.read_more("a frame").await {
                assert_eq!(self.read, b"", "the connection ended within a frame");
                return None;
            }
        }
    }

    pub(crate) async fn next_text(&mut self) -> String {
        let frame = self.next_frame().await.expect("a text, not the end");
        assert_eq!(frame.first, FIN | TEXT, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// The code of the close frame that comes, whatever comes before it.
    pub(crate) async fn until_close(&mut self) -> u16 {
        loop {
            let frame = self.next_frame().await.expect("a close frame before the end");
            if frame.opcode() == CLOSE {
                return frame.close_code();
            }
        }
    }

    /// The end of the connection, by end of stream or reset; what still comes is thrown away.
    pub(crate) async fn until_end(&mut self) {
        while self.read_more("the end of the connection").await {
            self.read.clear();
        }
    }

    /// All that still comes until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.read_more("the end of the connection").await {}
        std::mem::take(&mut self.read)
    }

    /// Reads what is there; false at the end of the connection.
    async fn read_more(&mut self, what: &str) -> bool {
        let mut piece = [0; 16 << 10];
        match within(what, self.stream.read(&mut piece)).await {
            Ok(0) | Err(_) => false,
            Ok(len) => {
                self.read.extend_from_slice(&piece[..len]);
                true
            }
        }
    }
}

/// A handshake's request; `extra` is more header lines, each with its line end.
pub(crate) fn upgrade_request(path: &str, extra: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    )
}

/// The frame at the start of `bytes` and how long it is, once all of it is there. A server never masks.
fn parse_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "the server masked a frame");
    let (start, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
        len => (2, usize::from(len)),
    };
    let payload = bytes.get(start..start + len)?.to_vec();
    Some((Frame { first, payload }, start + len))
}
