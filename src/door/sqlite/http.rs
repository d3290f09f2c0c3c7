//! The door's HTTP face: routes, the ticket in `Authorization`, and errors with the status that clients
//! expect.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::{limit::RequestBodyLimitLayer, timeout::RequestBodyTimeoutLayer};

use super::{
    pipeline::Engine,
    protocol::{Failure, PipelineBody, StreamRequest},
};
use crate::{
    door::{Sqlite, knock::Doorkeeper},
    tenant::{Admitted, Door, TicketProblem},
};

/// What the handlers share.
pub(super) struct Face {
    pub(super) doorkeeper: Doorkeeper,
    pub(super) engine: Engine,
    pub(super) config: Sqlite,
}

/// A refusal of the whole request; the stream, if there was one, is no longer valid.
struct Refusal(StatusCode, Failure);

/// All routes. Version 3 in JSON is a superset of version 2 and answered alike; cursors are not offered.
pub(super) fn router(face: Arc<Face>) -> Router {
    let body_bytes_max = face.config.request_bytes_max;
    let body_timeout = face.config.body_timeout;
    Router::new()
        .route("/{database}/v2", get(probe))
        .route("/{database}/v3", get(probe))
        .route("/{database}/v2/pipeline", post(pipeline))
        .route("/{database}/v3/pipeline", post(pipeline))
        .fallback(unknown)
        .layer(RequestBodyTimeoutLayer::new(body_timeout))
        .layer(RequestBodyLimitLayer::new(body_bytes_max))
        .layer(DefaultBodyLimit::disable())
        .with_state(face)
}

/// Is this version served? Needs no ticket and tells nothing.
async fn probe() -> StatusCode {
    StatusCode::OK
}

async fn unknown() -> Refusal {
    let message = "this is the SQLite door: use `x-gateway-database-url` with @libsql/client as it is";
    Refusal(StatusCode::NOT_FOUND, Failure::new("ROUTE_UNKNOWN", message))
}

async fn pipeline(
    State(face): State<Arc<Face>>,
    Path(database): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (ticket, admitted) = knock(&face.doorkeeper, &headers)?;
    if admitted.tenant.database.as_ref().map(|own| own.name()).as_ref() != Some(&database) {
        let message = "the ticket opens another database than the one in the address";
        return Err(Refusal(StatusCode::NOT_FOUND, Failure::new("DATABASE_UNKNOWN", message)));
    }
    let body = body.map_err(|rejection| {
        Refusal(rejection.status(), Failure::new("BODY_UNREADABLE", rejection.body_text()))
    })?;
    let body = parse(&body, face.config.pipeline_max)?;
    let answer = face.engine.pipeline(&admitted, ticket, body).await;
    // 400 ends the stream for the client, which shows the code and message.
    let answer = answer.map_err(|failure| Refusal(StatusCode::BAD_REQUEST, failure))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

fn knock<'a>(doorkeeper: &Doorkeeper, headers: &'a HeaderMap) -> Result<(&'a str, Admitted), Refusal> {
    let refused = |problem: TicketProblem| {
        let (status, code) = match problem {
            TicketProblem::Invalid => (StatusCode::UNAUTHORIZED, "TICKET_INVALID"),
            TicketProblem::Ended => (StatusCode::UNAUTHORIZED, "TICKET_ENDED"),
            TicketProblem::Suspended => (StatusCode::FORBIDDEN, "TENANT_SUSPENDED"),
        };
        Refusal(status, Failure::new(code, problem.to_string()))
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = bearer
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        // A password is base64url and holds no dot; a name may.
        .and_then(|(_, token)| token.trim().rsplit_once('.'));
    // Nothing presented counts as a wrong ticket.
    let credential = credential.unwrap_or_default();
    doorkeeper.knock(Door::Sqlite, credential).map(|admitted| (credential.0, admitted)).map_err(refused)
}

fn parse(body: &[u8], pipeline_max: usize) -> Result<PipelineBody, Refusal> {
    let malformed =
        |message: String| Refusal(StatusCode::BAD_REQUEST, Failure::new("HRANA_PROTO_ERROR", message));
    let body: PipelineBody = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the body is no pipeline: {error}")))?;
    let longest_batch = body.requests.iter().map(|request| match request {
        StreamRequest::Batch { batch } => batch.steps.len(),
        _ => 0,
    });
    if body.requests.len().max(longest_batch.max().unwrap_or(0)) > pipeline_max {
        let message =
            format!("a pipeline or batch has more than {pipeline_max} parts (`door.sqlite.pipeline_max`)");
        return Err(malformed(message));
    }
    Ok(body)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.1).unwrap_or_default();
        (self.0, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
