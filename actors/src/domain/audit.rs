//! Requests that no aggregate's events tell of, as events of the stream `audit-<node>-<incarnation>`: what was refused, and
//! what was accepted and changed nothing. That stream is written by that life of the node alone, so it needs no
//! aggregate. Never in here: requests that changed something, which their own events tell of.

use serde::{Deserialize, Serialize};

use super::codec::event_set;
use super::ids::{CorrelationId, StreamId};

/// Nobody knows who asked.
const UNAUTHORIZED: u16 = 401;
/// Too often, by the same.
const TOO_MANY_REQUESTS: u16 = 429;

/// Requests of one kind were refused within a second; the first of them stands for all. Who is not known yet is one kind
/// for each address and status, whatever was asked; who is known, one for each thing to be changed and one for all that
/// only looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRefused {
    /// Where they came from.
    pub address: String,
    /// Who asked (first).
    pub actor: String,
    /// The method of the first.
    pub method: String,
    /// The path of the first, without its query.
    pub path: String,
    /// With which status.
    pub status: u16,
    /// What the first belongs to.
    pub correlation_id: CorrelationId,
    /// How many there were.
    pub count: u64,
}

/// Requests of one actor and address to do the same thing were accepted within a second and recorded no event of their own: it
/// was so already, or nothing of an aggregate was to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestAccepted {
    /// Where they came from.
    pub address: String,
    /// Who asked.
    pub actor: String,
    /// What was asked: a command's type, or method and path without its query.
    pub action: String,
    /// The stream that a command concerned.
    pub stream: Option<StreamId>,
    /// With which status.
    pub status: u16,
    /// What the first belongs to.
    pub correlation_id: CorrelationId,
    /// How many there were.
    pub count: u64,
}

event_set! {
    /// What is recorded of requests without events of their own.
    AuditEvent {
        RequestRefused = 1,
        RequestAccepted = 1,
    }
}

impl AuditEvent {
    /// Where it came from, how it was answered, and what else tells it apart: those with the same are one event.
    #[must_use]
    pub fn kind_of_request(&self) -> (&str, u16, String) {
        match self {
            Self::RequestRefused(RequestRefused { address, actor, method, path, status, .. }) => {
                let what = match (*status, method.as_str()) {
                    // strangers choose what they ask for, and must not choose how much is recorded
                    (UNAUTHORIZED | TOO_MANY_REQUESTS, _) => String::new(),
                    (_, "GET" | "HEAD") => actor.clone(),
                    _ => format!("{actor} {method} {path}"),
                };
                (address, *status, what)
            }
            Self::RequestAccepted(request) => {
                let stream = request.stream.as_ref().map_or("", StreamId::as_str);
                let what = format!("{} {} {stream}", request.actor, request.action);
                (&request.address, request.status, what)
            }
        }
    }

    /// How many requests it stands for.
    pub const fn count_mut(&mut self) -> &mut u64 {
        match self {
            Self::RequestRefused(request) => &mut request.count,
            Self::RequestAccepted(request) => &mut request.count,
        }
    }

    /// Says that it stands for requests of many addresses.
    pub fn from_anywhere(&mut self, word: &str) {
        match self {
            Self::RequestRefused(request) => word.clone_into(&mut request.address),
            Self::RequestAccepted(request) => word.clone_into(&mut request.address),
        }
    }
}
