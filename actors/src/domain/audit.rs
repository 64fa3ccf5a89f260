//! What a node refused, as events of the stream `audit-<node>-<incarnation>`: that stream is written by that life of
//! the node alone, so it needs no aggregate. Never in here: requests that were accepted, which their own events tell of.

use serde::{Deserialize, Serialize};

use super::codec::event_set;
use super::ids::CorrelationId;

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

event_set! {
    /// What is recorded of refused requests.
    AuditEvent {
        RequestRefused = 1,
    }
}
