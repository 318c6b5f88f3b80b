//! The operator's HTTP: publish, look, close, measure. It runs on a runtime of its own and asks the owners.

mod connections;
mod metrics;
mod page;
mod publish;
pub(crate) mod system;
mod topics;

use crate::config::Settings;
use crate::ids::ShardId;
use crate::mailbox::Refused;
use crate::sequencer::publisher::Publisher;
use crate::sequencer::request::{Question, Reply, Request};
use crate::shard::command::Command;
use crate::shard::directory::Directory;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// How long an owner may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What every handler holds.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) publisher: Publisher,
    pub(crate) directory: Arc<Directory>,
    pub(crate) settings: Arc<Settings>,
    /// True once the server goes down.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Serves for as long as its runtime lives: a drain can be watched to its end.
pub(crate) async fn serve(listener: TcpListener, operator: Operator) {
    let app = router(operator).into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the operator's port failed");
    }
}

fn router(operator: Operator) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/topics", get(topics::list))
        .route("/topics/{*topic}", get(topics::one))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", delete(connections::disconnect))
        .route("/publish", post(publish::batch))
        .route("/publish/{*topic}", post(publish::one))
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such page; see /")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "bad_request", "this page does not take that method")
        })
        .with_state(operator)
}

async fn ready(State(operator): State<Operator>) -> Response {
    if *operator.stopping.borrow() {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is shutting down")
            .into_response();
    }
    // Every port is bound before this one serves; what may still be wrong is a thread that does not answer.
    let shards = operator.directory.load().len();
    let answers = tokio::join!(operator.ask(Question::Counters), operator.ask_shards(Command::Counters));
    match answers {
        (Ok(_), Ok(counters)) if counters.len() == shards => "ready\n".into_response(),
        (Err(problem), _) | (_, Err(problem)) => problem.into_response(),
        _ => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "failed", "a shard has failed: restart the server")
                .into_response()
        }
    }
}

impl Operator {
    /// Asks the sequencer.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Reply<T>) -> Question,
    ) -> Result<T, Problem> {
        let (reply, answer) = reply();
        let asking = async {
            self.publisher.send(Request::Ask(question(reply))).await.map_err(|_| Problem::stopping())?;
            answer.await.map_err(|_| Problem::stopping())
        };
        tokio::time::timeout(ANSWER_WITHIN, asking).await.unwrap_or_else(|_| Err(Problem::silent()))
    }

    /// Asks one shard; there is no answer where there is no such shard, or none that runs.
    async fn ask_shard<T: Send + 'static>(
        &self,
        shard: ShardId,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Option<T>, Problem> {
        let (reply, answer) = reply();
        match self.directory.load().get(usize::from(shard)) {
            None => return Ok(None),
            Some(handle) => match handle.commands.post(command(reply)) {
                Ok(()) => {}
                Err(Refused::Full(_)) => return Err(Problem::silent()),
                Err(Refused::Closed(_)) => return Ok(None),
            },
        }
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer.map(Some).map_err(|_| Problem::stopping()),
            Err(_) => Err(Problem::silent()),
        }
    }

    /// Asks every shard that runs; each answer comes with whose it is.
    async fn ask_shards<T: Send + 'static>(
        &self,
        command: impl Fn(Reply<T>) -> Command,
    ) -> Result<Vec<(ShardId, T)>, Problem> {
        let shards = self.directory.load().len() as ShardId;
        let asked = (0..shards).map(|shard| self.ask_shard(shard, &command));
        let answers = futures_util::future::try_join_all(asked).await?;
        Ok((0..shards).zip(answers).filter_map(|(shard, answer)| Some((shard, answer?))).collect())
    }
}

fn reply<T: Send + 'static>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (tell, told) = oneshot::channel();
    // Whoever asked may have gone; then nobody wants to know.
    (Reply::new(move |answer| drop(tell.send(answer))), told)
}

/// A request that fails: status, and a JSON body that says why and what to do.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    body: ProblemBody,
}

#[derive(Clone, Debug, Serialize)]
struct ProblemBody {
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: ProblemBody { code, message: message.into() } }
    }

    fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is shutting down")
    }

    fn full() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "full",
            "the publish queue is full: nothing was taken; try again",
        )
    }

    fn silent() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the server did not answer in time; try again")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
