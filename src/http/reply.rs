//! Answers that went well, and what handlers share: the request with the node's handle, JSON with an ETag, lists
//! that wait for a position.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use flexcore_actors::domain::ids::{ExecutionId, Name, Version};
use flexcore_actors::domain::problem::Problems;
use flexcore_actors::domain::projection::View;
use flexcore_actors::runtime::api::{Accepted, Api, ApiError, Command, CommandKind};
use flexcore_actors::runtime::views::{ExecutionView, NodeStatus, Page, PipelineView, PluginView};
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use warp::Reply;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::access::Access;

use super::call::Call;
use super::limits::{POSITION_POLL, POSITION_WAIT, STATUS_TIMEOUT};
use super::problem::{Kind, Problem};

/// What a handler gives.
pub(super) type Answer = Result<Response, Problem>;

/// Gives each handler its [`Ctx`].
pub(super) type CtxFilter = BoxedFilter<(Ctx,)>;

/// A request with the handle it needs.
#[derive(Clone)]
pub(super) struct Ctx {
    /// The node.
    pub api: Api,
    /// The request.
    pub call: Arc<Call>,
    /// Tokens.
    pub access: Arc<Access>,
}

impl Ctx {
    /// Carries out a command for this request.
    pub(super) async fn submit(
        &self,
        kind: CommandKind,
        aggregate_id: impl Into<String>,
        payload: Value,
    ) -> Result<Accepted, Problem> {
        let context = self.call.context()?;
        self.carry_out(Command { kind, aggregate_id: aggregate_id.into(), payload, context }).await
    }

    /// The same with a context of its own; notes for the audit log what became of it.
    pub(super) async fn carry_out(&self, command: Command) -> Result<Accepted, Problem> {
        let kind = command.kind;
        let accepted = self.api.submit(command).await?;
        self.call.carried_out(kind, &accepted);
        Ok(accepted)
    }

    /// What the node is and does, within a bound.
    pub(super) async fn status(&self) -> Result<NodeStatus, Problem> {
        timeout(STATUS_TIMEOUT, self.api.status()).await.map_err(|_| {
            let seconds = STATUS_TIMEOUT.as_secs();
            Problem::unavailable(format!("the node's dependencies did not answer within {seconds} s"))
        })
    }

    /// Waits until the lists of a view reflect `min_position`, within a bound.
    pub(super) async fn reflected(&self, view: View) -> Result<(), Problem> {
        let wanted = self.call.query.min_position()?;
        Ok(self.api.reflects(view, wanted, POSITION_WAIT).await?)
    }

    /// A list of the log that reflects `min_position` at least; waits for it within a bound.
    pub(super) async fn settled<T, F>(&self, fetch: impl Fn() -> F) -> Result<Page<T>, Problem>
    where
        F: Future<Output = Result<Page<T>, ApiError>>,
    {
        let wanted = self.call.query.min_position()?;
        let deadline = Instant::now() + POSITION_WAIT;
        loop {
            let page = fetch().await?;
            if page.position >= wanted {
                return Ok(page);
            }
            if Instant::now() >= deadline {
                return Err(Problem::unavailable(format!(
                    "the list reflects position {}, not yet min_position {wanted}: try again",
                    page.position
                )));
            }
            sleep(POSITION_POLL).await;
        }
    }
}

/// What carries the version of its stream.
pub(super) trait Versioned {
    /// The version, which is the ETag.
    fn version(&self) -> Version;
}

impl Versioned for PipelineView {
    fn version(&self) -> Version {
        self.version
    }
}

impl Versioned for PluginView {
    fn version(&self) -> Version {
        self.stream_version
    }
}

impl Versioned for ExecutionView {
    fn version(&self) -> Version {
        self.version
    }
}

/// JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "cannot serialise an answer");
        Problem::from(ApiError::Internal)
    })?;
    let mut response = body.into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// One resource, with its ETag.
pub(super) fn resource(view: &(impl Serialize + Versioned)) -> Answer {
    json(StatusCode::OK, view).map(|response| with_etag(response, view.version()))
}

/// The answer to a command: the resource as it is now and how many events the command recorded. The command is
/// durable, so a resource that cannot be read is no error: then the bare outcome is the answer.
pub(super) fn changed<T>(status: StatusCode, accepted: &Accepted, view: Result<T, ApiError>) -> Answer
where
    T: Serialize + Versioned,
{
    match view {
        Ok(view) => {
            let version = view.version();
            let Accepted { events_generated, warnings, .. } = accepted;
            let body = Changed { view, events_generated: *events_generated, warnings };
            json(status, &body).map(|response| with_etag(response, version))
        }
        Err(error) => {
            tracing::warn!(%error, aggregate_id = accepted.aggregate_id, "changed, but not readable now");
            json(status, accepted)
        }
    }
}

/// Adds `Location`.
pub(super) fn with_location(response: Response, path: &str) -> Response {
    with_header(response, LOCATION, path)
}

/// Adds a header; a value that is none is left out.
pub(super) fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A name in a path; what is no name names nothing.
pub(super) fn name_in_path(kind: &'static str, text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|_| Problem::not_found(kind, text))
}

/// An execution's id in a path.
pub(super) fn execution_in_path(text: &str) -> Result<ExecutionId, Problem> {
    ExecutionId::from_str(text).map_err(|_| Problem::not_found("execution", text))
}

/// The execution that an accepted command started.
pub(super) fn started(accepted: &Accepted) -> Result<ExecutionId, Problem> {
    accepted.execution_id.ok_or_else(|| {
        tracing::error!(aggregate_id = accepted.aggregate_id, "a start was accepted without an execution");
        Problem::new(Kind::Internal, "the node accepted the start but named no execution")
    })
}

fn with_etag(response: Response, version: Version) -> Response {
    with_header(response, ETAG, &format!("\"{version}\""))
}

#[derive(Serialize)]
struct Changed<'a, T> {
    #[serde(flatten)]
    view: T,
    events_generated: u32,
    #[serde(skip_serializing_if = "Problems::is_empty")]
    warnings: &'a Problems,
}

#[cfg(test)]
mod tests {
    use flexcore_actors::domain::ids::{CommandId, Position};
    use http_body_util::BodyExt;
    use uuid::Uuid;

    use super::*;
    use crate::http::executions::tests::execution;

    async fn told(view: Result<ExecutionView, ApiError>) -> (Option<HeaderValue>, Value) {
        let accepted = Accepted {
            command_id: CommandId(Uuid::nil()),
            aggregate_id: "e".to_owned(),
            version: Version(3),
            position: Position(8),
            events_generated: 0,
            execution_id: None,
            warnings: Problems::default(),
        };
        let (parts, body) = changed(StatusCode::OK, &accepted, view).unwrap().into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        let body = body.collect().await.unwrap().to_bytes();
        (parts.headers.get(ETAG).cloned(), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_change_shows_the_resource_with_its_own_version() {
        let (etag, body) = told(Ok(execution())).await;
        assert_eq!(etag.unwrap(), "\"4\"");
        assert_eq!(
            (&body["version"], &body["events_generated"], &body["status"]),
            (&4.into(), &0.into(), &"running".into())
        );
    }

    #[tokio::test]
    async fn a_durable_change_is_no_error_when_it_cannot_be_read() {
        let (etag, body) = told(Err(ApiError::Internal)).await;
        assert_eq!(etag, None);
        assert_eq!((&body["version"], &body["aggregate_id"]), (&3.into(), &"e".into()));
    }

    #[test]
    fn what_is_no_name_names_nothing() {
        assert_eq!(name_in_path("plugin", "Tap").unwrap_err().status(), 404);
        assert_eq!(execution_in_path("7").unwrap_err().status(), 404);
        execution_in_path("0198c0de-0000-7000-8000-000000000001").unwrap();
    }
}
