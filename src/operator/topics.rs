//! `GET /topics` and `GET /topics/<topic>`.

use super::publish::topic_of;
use super::{Operator, Problem};
use crate::sequencer::request::{Question, TopicReport};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct Filter {
    /// Names that begin so.
    #[serde(default)]
    prefix: String,
    /// At most so many; the sequencer answers between two messages.
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    1_000
}

#[derive(Serialize)]
pub(super) struct Listed {
    topics: Vec<TopicReport>,
}

pub(super) async fn list(
    State(operator): State<Operator>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Listed>, Problem> {
    let Query(Filter { prefix, limit }) =
        query.map_err(|error| Problem::bad_request("bad_request", error.body_text()))?;
    let topics = operator.ask(|reply| Question::Topics { prefix, limit, reply }).await?;
    Ok(Json(Listed { topics }))
}

pub(super) async fn one(State(operator): State<Operator>, uri: Uri) -> Result<Json<TopicReport>, Problem> {
    let name = topic_of(&uri, "/topics/")?.to_string();
    let topic = operator.ask(|reply| Question::Topic { name, reply }).await?;
    topic
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such topic now"))
}
