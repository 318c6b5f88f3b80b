//! `GET /topics` and `GET /topics/<topic>`: what the sequencer says of topics, and what the shards have counted of them.

use super::publish::topic_of;
use super::{Operator, Problem};
use crate::sequencer::request::{Question, TopicReport};
use crate::shard::command::Command;
use crate::shard::core::ledger::Ledger;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Topics that are told of unless another number is asked for, and by the metrics at most.
pub(super) const TOPICS: usize = 1_000;

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
    TOPICS
}

/// A topic, and what became of its deliveries on all shards since its first message.
///
/// The sequencer and each shard answer at a moment of their own, one after the other: `seq` may be behind or ahead of what
/// was routed, while the terms of the account always add up. They end, with the topic, when it retires.
#[derive(Debug, Serialize)]
pub(super) struct TopicLine {
    #[serde(flatten)]
    pub(super) report: TopicReport,
    #[serde(flatten)]
    pub(super) account: Ledger,
    pub(super) pending: u64,
}

#[derive(Serialize)]
pub(super) struct Listed {
    topics: Vec<TopicLine>,
}

pub(super) async fn list(
    State(operator): State<Operator>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Listed>, Problem> {
    let Query(Filter { prefix, limit }) =
        query.map_err(|error| Problem::bad_request("bad_request", error.body_text()))?;
    Ok(Json(Listed { topics: operator.topics(prefix, limit).await? }))
}

pub(super) async fn one(State(operator): State<Operator>, uri: Uri) -> Result<Json<TopicLine>, Problem> {
    let name = topic_of(&uri, "/topics/")?.to_string();
    let report = operator.ask(|reply| Question::Topic { name, reply }).await?;
    let line = operator.accounts(report.into_iter().collect()).await?.pop();
    line.map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such topic now"))
}

impl Operator {
    /// Topics whose names begin so, at most so many.
    pub(super) async fn topics(&self, prefix: String, limit: usize) -> Result<Vec<TopicLine>, Problem> {
        let reports = self.ask(|reply| Question::Topics { prefix, limit, reply }).await?;
        self.accounts(reports).await
    }

    /// The same topics, each with what all shards together have counted of it.
    async fn accounts(&self, reports: Vec<TopicReport>) -> Result<Vec<TopicLine>, Problem> {
        let ids: Arc<[_]> = reports.iter().map(|report| report.id).collect();
        let of_shards = self.ask_shards(|reply| Command::Ledgers { topics: ids.clone(), reply }).await?;
        let mut accounts = vec![Ledger::default(); reports.len()];
        for (_, ledgers) in &of_shards {
            accounts.iter_mut().zip(ledgers).for_each(|(account, ledger)| account.add(ledger));
        }
        let line = |(report, account): (_, Ledger)| TopicLine { report, pending: account.pending(), account };
        Ok(reports.into_iter().zip(accounts).map(line).collect())
    }
}
