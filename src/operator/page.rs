//! `GET /`: one page that shows the server at work, from the operator's own JSON and metrics.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

/// The page may load nothing from elsewhere, and be framed by nobody.
const POLICY: &str =
    "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'";

pub(super) async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("page.html"))).into_response()
}
