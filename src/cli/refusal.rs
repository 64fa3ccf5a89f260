//! What a node says when it refuses, and how a command ends on it. Never in here: sending requests.

use serde::Deserialize;
use serde_json::Value;

use super::failure::{Exit, Failure};

/// A refusal, as RFC 9457 has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// The HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// Seconds after which to try again.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// What kind of problem.
    pub title: String,
    /// What is wrong.
    pub detail: String,
    /// Each wrong field.
    pub errors: Vec<FieldError>,
    /// What the node's log calls this request.
    pub correlation_id: Option<String>,
}

/// A wrong field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldError {
    /// Its path.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Fields that an answer tells of; none when it tells of none.
pub fn field_errors(list: &Value) -> Vec<FieldError> {
    Vec::deserialize(list).unwrap_or_default()
}

/// The exit code that tells a script what an HTTP status means.
#[must_use]
pub const fn exit_of(status: u16) -> Exit {
    match status {
        400 | 413 | 415 | 422 => Exit::Usage,
        401 | 403 => Exit::Unauthorised,
        404 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        429 | 502..=504 => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

/// A refusal as a command's end.
#[must_use]
pub fn refused(refusal: Refusal) -> Failure {
    let exit = exit_of(refusal.status);
    let message = if refusal.detail.is_empty() { refusal.title } else { refusal.detail };
    // of a single wrong field the message says it all
    let details = refusal.errors.iter().map(FieldError::to_string).filter(|text| *text != message).collect();
    let failure = Failure::new(exit, message).details(details);
    match (exit, refusal.retry_after, refusal.correlation_id) {
        (Exit::Unauthorised, _, _) => failure.hint("set FLEXCORE_TOKEN to a token whose role allows it"),
        (_, Some(seconds), _) => failure.hint(format!("try again in {seconds} s")),
        (Exit::Failed, _, Some(id)) => {
            failure.hint(format!("the node's log has more under correlation id {id}"))
        }
        _ => failure,
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = if self.field.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.field, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(field: &str, message: &str) -> FieldError {
        FieldError { field: field.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn one_wrong_field_is_told_once_and_several_each() {
        let one = Refusal {
            status: 400,
            detail: "to: no time".to_owned(),
            errors: vec![error("to", "no time")],
            ..Refusal::default()
        };
        let failure = refused(one.clone());
        assert_eq!((failure.message.as_str(), failure.details.len()), ("to: no time", 0));
        let errors = vec![error("from", "no time"), error("to", "no time")];
        let failure = refused(Refusal { detail: "2 problems".to_owned(), errors, ..one });
        assert_eq!(failure.details, ["from: no time", "to: no time"]);
    }
}
