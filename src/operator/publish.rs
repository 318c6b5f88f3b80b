//! `POST /publish/<topic>` and `POST /publish` (NDJSON).

use super::{Operator, Problem, ProblemBody, reply};
use crate::error::PublishError;
use crate::limits::BATCH_BYTES_MAX;
use crate::message::Payload;
use crate::protocol::operation;
use crate::protocol::options::{OptionFields, PublishOptions};
use crate::protocol::outcome::{Published, Refusal};
use crate::protocol::topic::TopicName;
use crate::sequencer::publisher::Accepted;
use crate::sequencer::request::Receipt;
use crate::transport::session::compact;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a batch waits for room before the rest of it is rejected.
const BATCH_PATIENCE: Duration = Duration::from_secs(5);
/// Rejected lines that an answer lists.
const REJECTED_LISTED: usize = 1_000;
/// Lines handled between two yields.
const LINES_PER_YIELD: usize = 256;

#[derive(Serialize)]
pub(super) struct PublishedLine {
    topic: TopicName,
    epoch: String,
    seq: u64,
}

/// One message, verbatim.
pub(super) async fn one(
    State(operator): State<Operator>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PublishedLine>, Problem> {
    entitled(peer)?;
    let topic = topic_of(&uri, "/publish/")?;
    let parameter = |name: &str| crate::protocol::target::parameter(uri.query().unwrap_or_default(), name);
    let options = PublishOptions::from_query(parameter).map_err(|error| bad(error.to_string()))?.boxed();
    let bytes = read(body, operator.settings.limits.message_bytes, "limits.message_bytes").await?;
    let payload = declared(bytes, headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()))?;
    let (reply, published) = reply();
    let request = operator
        .publisher
        .request(topic.clone(), payload, options, Some(Receipt::Caller(reply)))
        .map_err(problem)?;
    match operator.publisher.offer(request).map_err(problem)? {
        Accepted::Full => Err(Problem::full()),
        Accepted::Yes => {
            let at = published
                .await
                .map_err(|_| Problem::stopping())?
                .map_err(|refusal| problem(refusal.into()))?;
            Ok(Json(PublishedLine { topic, epoch: at.epoch.to_string(), seq: at.seq }))
        }
    }
}

#[derive(Serialize)]
pub(super) struct Batch {
    accepted: usize,
    /// The first so many of them.
    rejected: Vec<Rejected>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    rejected_unlisted: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What became of a line, once the sequencer has come to it.
type Told = oneshot::Receiver<Result<Published, Refusal>>;

#[derive(Serialize)]
struct Rejected {
    /// From 1.
    line: usize,
    #[serde(flatten)]
    why: ProblemBody,
}

#[derive(Deserialize)]
struct Line<'a> {
    topic: String,
    #[serde(borrow, default, deserialize_with = "operation::present_verbatim")]
    data: Option<&'a RawValue>,
    text: Option<Value>,
    base64: Option<Value>,
    class: Option<Value>,
    image: Option<Value>,
    seq: Option<Value>,
    epoch: Option<Value>,
}

/// Many messages, a line each. A bad line is rejected and the rest goes on.
pub(super) async fn batch(
    State(operator): State<Operator>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Body,
) -> Result<Json<Batch>, Problem> {
    entitled(peer)?;
    let bytes = read(body, BATCH_BYTES_MAX, "16 MiB a batch").await?;
    let mut waiting = Vec::new();
    let mut rejected = Vec::new();
    let mut unlisted = 0;
    // Once there is no room, the rest is rejected without waiting: a line may not overtake those before it.
    let mut full = None;
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        let posted = match &full {
            Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "full", String::clone(why))),
            None => post_line(&operator, line).await,
        };
        match posted {
            Ok(told) => waiting.push((at + 1, told)),
            Err(problem) => {
                if problem.status == StatusCode::SERVICE_UNAVAILABLE {
                    full = Some(problem.body.message.clone());
                }
                rejected.push(Rejected { line: at + 1, why: problem.body });
            }
        }
        if at % LINES_PER_YIELD == 0 {
            tokio::task::yield_now().await;
        }
        if rejected.len() > REJECTED_LISTED {
            rejected.pop();
            unlisted += 1;
        }
    }
    let mut accepted = 0;
    for (line, told) in waiting {
        match told.await {
            Ok(Ok(_)) => accepted += 1,
            Ok(Err(refusal)) => rejected.push(Rejected { line, why: problem(refusal.into()).body }),
            Err(_) => rejected.push(Rejected { line, why: Problem::stopping().body }),
        }
    }
    rejected.sort_by_key(|rejected| rejected.line);
    unlisted += rejected.len().saturating_sub(REJECTED_LISTED);
    rejected.truncate(REJECTED_LISTED);
    Ok(Json(Batch { accepted, rejected, rejected_unlisted: unlisted }))
}

/// Posts a line, with patience; what comes back tells what became of it.
async fn post_line(operator: &Operator, line: &[u8]) -> Result<Told, Problem> {
    let text = std::str::from_utf8(line).map_err(|error| bad(error.to_string()))?;
    let line: Line<'_> = operation::from_object(text).map_err(|error| bad(error.to_string()))?;
    let topic = TopicName::try_from(line.topic).map_err(|error| problem(error.into()))?;
    let payload =
        operation::payload(line.data, line.text, line.base64).map_err(|message| bad(message.into()))?;
    let (class, image, seq, epoch) = (line.class, line.image, line.seq, line.epoch);
    let options = PublishOptions::from_fields(OptionFields { class, image, seq, epoch });
    let options = options.map_err(|error| bad(error.to_string()))?.boxed();
    let (reply, told) = reply();
    let request =
        operator.publisher.request(topic, payload, options, Some(Receipt::Caller(reply))).map_err(problem)?;
    let sending = tokio::time::timeout(BATCH_PATIENCE, operator.publisher.send(request));
    sending.await.map_err(|_| Problem::full())?.map_err(problem)?;
    Ok(told)
}

fn bad(message: String) -> Problem {
    Problem::bad_request("bad_request", message)
}

fn entitled(peer: SocketAddr) -> Result<(), Problem> {
    let message = "only peers on loopback may publish";
    if peer.ip().to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::FORBIDDEN, "not_entitled", message))
    }
}

/// The topic at the end of a path, percent-encoded.
pub(super) fn topic_of(uri: &Uri, prefix: &str) -> Result<TopicName, Problem> {
    let encoded = uri.path().strip_prefix(prefix).unwrap_or_default();
    crate::protocol::target::topic(encoded).map_err(|error| problem(error.into()))
}

async fn read(body: Body, max: usize, limit: &str) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, max).await.map_err(|_| {
        let message = format!("the body is cut short, or has more than {max} bytes ({limit})");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })
}

/// The payload as its `Content-Type` declares it; none is JSON if it parses, else as the bytes are.
fn declared(bytes: Bytes, content_type: Option<&str>) -> Result<Payload, Problem> {
    let bytes = compact(bytes);
    let kind =
        content_type.map(|full| full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match kind.as_deref() {
        None => Ok(Payload::sniff(bytes)),
        Some("application/json") => {
            Payload::declared_json(bytes).map_err(|error| Problem::bad_request("not_json", error.to_string()))
        }
        Some(kind) if kind.starts_with("text/") => Payload::declared_text(bytes)
            .map_err(|(error, _)| Problem::bad_request("not_text", error.to_string())),
        Some(_) => Ok(Payload::binary(bytes)),
    }
}

fn problem(error: PublishError) -> Problem {
    let (status, code) = match error {
        PublishError::Topic(_) | PublishError::Reserved => (StatusCode::BAD_REQUEST, "bad_topic"),
        PublishError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        PublishError::Refused(refusal @ (Refusal::Stale { .. } | Refusal::Class { .. })) => {
            (StatusCode::CONFLICT, refusal.code())
        }
        PublishError::Refused(refusal) => (StatusCode::SERVICE_UNAVAILABLE, refusal.code()),
        PublishError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    Problem::new(status, code, error.to_string())
}
