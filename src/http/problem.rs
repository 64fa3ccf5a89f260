//! Errors as clients see them: RFC 9457 problem documents, and how every error of the inside becomes one. Nothing
//! here decides that something is an error, and no detail of a defect ever leaves the node.

use flexcore_actors::domain::problem::{Problem as FieldProblem, Problems};
use flexcore_actors::runtime::api::ApiError;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use warp::Reply;
use warp::reply::Response;

use crate::access::Denied;

use super::limits::RETRY_AFTER_SECS;

/// What kind of error it is; decides status, type and title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Malformed,
    Unauthorized,
    Forbidden,
    NotFound,
    NoRoute,
    MethodNotAllowed,
    SlowBody,
    Conflict,
    PreconditionFailed,
    TooLarge,
    UnsupportedType,
    Validation,
    KeyReused,
    Overloaded,
    Internal,
    NotBuilt,
    Unavailable,
}

impl Kind {
    /// Status, the last part of the type, title. Clients match on the first two: they never change.
    const fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-such-route", "No such route"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "body-timeout", "Body took too long"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "version-mismatch", "Changed by someone else")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::UnsupportedType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "Unsupported content type")
            }
            Self::Validation => (StatusCode::UNPROCESSABLE_ENTITY, "validation", "Validation failed"),
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "command-reused", "Command id used for another request")
            }
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded", "Overloaded"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::NotBuilt => (StatusCode::NOT_IMPLEMENTED, "not-built", "Not built yet"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
        }
    }
}

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldProblem>,
    retry_after: Option<u64>,
    allow: Option<String>,
}

impl Problem {
    /// An error of a kind; `detail` says what was wrong with which object and what to do.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None, allow: None }
    }

    /// 400 with the fields (query parameters, headers) that are wrong.
    pub(super) fn malformed(problems: Problems) -> Self {
        Self { errors: problems.0.clone(), ..Self::new(Kind::Malformed, problems.to_string()) }
    }

    /// 400 for one query parameter or header.
    pub(super) fn parameter(field: &str, message: impl Into<String>) -> Self {
        let mut problems = Problems::default();
        problems.add(field, message);
        Self::malformed(problems)
    }

    /// 422 with every field that is wrong.
    pub(super) fn validation(problems: Problems) -> Self {
        Self { errors: problems.0.clone(), ..Self::new(Kind::Validation, problems.to_string()) }
    }

    /// 422 for one field of a body.
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        let mut problems = Problems::default();
        problems.add(field, message);
        Self::validation(problems)
    }

    /// The same problem with parameters that stood in a body instead of the query.
    pub(super) fn in_body(self) -> Self {
        let errors = self.errors.into_iter();
        let moved =
            errors.map(|error| FieldProblem { field: format!("parameters.{}", error.field), ..error });
        Self::validation(Problems(moved.collect()))
    }

    /// 404 for an object.
    pub(super) fn not_found(kind: &'static str, id: &str) -> Self {
        ApiError::NotFound { kind, id: id.chars().take(80).collect() }.into()
    }

    /// 405; `allow` lists what the path takes.
    pub(super) fn method_not_allowed(method: &http::Method, path: &str, allow: String) -> Self {
        let detail = format!("{method} is not allowed on {path}: use {allow}");
        Self { allow: Some(allow), ..Self::new(Kind::MethodNotAllowed, detail) }
    }

    /// 501; the contract has it, this version does not.
    pub(super) fn not_built(feature: &'static str) -> Self {
        ApiError::NotBuilt(feature).into()
    }

    /// 503 with a time to come back.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER_SECS), ..Self::new(Kind::Unavailable, detail) }
    }

    /// The status it is answered with.
    #[cfg(test)]
    pub(super) const fn status(&self) -> StatusCode {
        self.kind.facts().0
    }

    /// The answer: `instance` is the request's path, `correlation_id` what ties it to logs and events.
    pub(super) fn into_response(self, instance: &str, correlation_id: &str) -> Response {
        let (status, slug, title) = self.kind.facts();
        let document = Document {
            r#type: format!("urn:flexcore:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            correlation_id,
            errors: &self.errors,
        };
        let body = serde_json::to_vec(&document).expect("texts and numbers always serialise");
        let mut response = body.into_response();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flexcore\""));
        }
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::Missing | Denied::Malformed | Denied::Worthless => Self::new(Kind::Unauthorized, text),
            Denied::TooMany { retry_after } => {
                Self { retry_after: Some(retry_after), ..Self::new(Kind::Overloaded, text) }
            }
            Denied::Store(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "tokens cannot be looked up");
                Self::unavailable(text)
            }
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::Malformed(_) => Self::new(Kind::Malformed, text),
            ApiError::Invalid(problems) => Self::validation(problems),
            ApiError::NotFound { .. } => Self::new(Kind::NotFound, text),
            ApiError::Conflict(_) => Self::new(Kind::Conflict, text),
            ApiError::PreconditionFailed { .. } => Self::new(Kind::PreconditionFailed, text),
            ApiError::CommandReused => Self::new(Kind::KeyReused, text),
            ApiError::Overloaded { retry_after, .. } => {
                let detail = format!("{text}: try again in {} s", retry_after.max(1));
                Self { retry_after: Some(retry_after.max(1)), ..Self::new(Kind::Overloaded, detail) }
            }
            ApiError::Unavailable { retry_after, .. } => {
                let detail = format!("{text}: try again in {} s", retry_after.max(1));
                Self { retry_after: Some(retry_after.max(1)), ..Self::new(Kind::Unavailable, detail) }
            }
            ApiError::NotBuilt(_) => Self::new(Kind::NotBuilt, text),
            ApiError::Internal => {
                Self::new(Kind::Internal, "internal error: look for the correlation_id in the node's log")
            }
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

#[cfg(test)]
mod tests {
    use flexcore_actors::domain::ids::Version;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    async fn rendered(problem: Problem) -> (StatusCode, http::HeaderMap, Value) {
        let (parts, body) = problem.into_response("/x", "c-1").into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn every_error_of_the_inside_has_its_status() {
        let mut problems = Problems::default();
        problems.add("steps[0].name", "name is required");
        let cases = [
            (ApiError::Malformed("x".into()), 400),
            (ApiError::Invalid(problems), 422),
            (ApiError::NotFound { kind: "pipeline", id: "p".into() }, 404),
            (ApiError::Conflict("x".into()), 409),
            (ApiError::PreconditionFailed { expected: Version(1), actual: Version(2) }, 412),
            (ApiError::CommandReused, 422),
            (ApiError::Overloaded { what: "p".into(), retry_after: 0 }, 429),
            (ApiError::Unavailable { what: "p".into(), retry_after: 3 }, 503),
            (ApiError::NotBuilt("backfill"), 501),
            (ApiError::Internal, 500),
        ];
        for (error, status) in cases {
            assert_eq!(Problem::from(error.clone()).status(), status, "{error:?}");
        }
    }

    #[tokio::test]
    async fn validation_lists_every_field() {
        let mut problems = Problems::default();
        problems.add("name", "name is required");
        problems.add("steps", "expected a list");
        let (status, headers, body) = rendered(ApiError::Invalid(problems).into()).await;
        assert_eq!(status, 422);
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            body,
            json!({
                "type": "urn:flexcore:problem:validation", "title": "Validation failed", "status": 422,
                "detail": "name: name is required; steps: expected a list", "instance": "/x",
                "correlation_id": "c-1",
                "errors": [{"field": "name", "message": "name is required"},
                           {"field": "steps", "message": "expected a list"}],
            })
        );
    }

    #[tokio::test]
    async fn times_to_come_back_and_allowed_methods_are_headers() {
        let overloaded = ApiError::Overloaded { what: "pipeline p".into(), retry_after: 2 };
        let (_, headers, body) = rendered(overloaded.into()).await;
        assert_eq!(headers[RETRY_AFTER], "2");
        assert!(body.get("errors").is_none());
        let refused = Problem::method_not_allowed(&http::Method::PATCH, "/health", "GET, HEAD".into());
        let (status, headers, _) = rendered(refused).await;
        assert_eq!(status, 405);
        assert_eq!(headers[ALLOW], "GET, HEAD");
    }
}
