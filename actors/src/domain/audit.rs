//! Requests that no aggregate's events tell of, as events of the stream `audit-<node>-<incarnation>`: what was refused, and
//! what was accepted and changed nothing. That stream is written by that life of the node alone, so it needs no
//! aggregate. Never in here: requests that changed something, which their own events tell of.

use serde::{Deserialize, Serialize};

use super::codec::event_set;
use super::ids::{CorrelationId, StreamId};

/// Requests of one address were refused with the same status within a second; the first of them stands for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRefused {
    /// Where they came from.
    pub address: String,
    /// Who asked first.
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

/// Requests of one address to do the same thing were accepted within a second and recorded no event of their own: it
/// was so already, or nothing of an aggregate was to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestAccepted {
    /// Where they came from.
    pub address: String,
    /// Who asked first.
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
    /// Where it came from, how it was answered, and what tells accepted ones apart: those with the same are one event.
    #[must_use]
    pub fn kind_of_request(&self) -> (&str, u16, String) {
        match self {
            Self::RequestRefused(request) => (&request.address, request.status, String::new()),
            Self::RequestAccepted(request) => {
                let stream = request.stream.as_ref().map_or("", StreamId::as_str);
                (&request.address, request.status, format!("{} {stream}", request.action))
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
