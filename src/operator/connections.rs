//! `GET /connections` and `DELETE /connections/<id>`.

use super::{Operator, Problem};
use crate::ids::ConnectionId;
use crate::shard::command::{Command, ConnectionLine, Sort, keep_first};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct Order {
    #[serde(default)]
    sort: Sort,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    20
}

#[derive(Serialize)]
pub(super) struct Listed {
    connections: Vec<ConnectionLine>,
}

pub(super) async fn list(
    State(operator): State<Operator>,
    query: Result<Query<Order>, QueryRejection>,
) -> Result<Json<Listed>, Problem> {
    let Query(Order { sort, limit }) =
        query.map_err(|error| Problem::bad_request("bad_request", error.body_text()))?;
    let of_shards = operator.ask_shards(|reply| Command::Connections { sort, limit, reply }).await?;
    let mut ranked: Vec<_> = of_shards.into_iter().flat_map(|(_, ranked)| ranked).collect();
    keep_first(&mut ranked, limit);
    Ok(Json(Listed { connections: ranked.into_iter().map(|(_, line)| line).collect() }))
}

pub(super) async fn disconnect(
    State(operator): State<Operator>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: ConnectionId = id.parse().map_err(|message| Problem::bad_request("bad_request", message))?;
    match operator.ask_shard(id.shard, |reply| Command::Disconnect { id, reply }).await? {
        Some(true) => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such connection now")),
    }
}
