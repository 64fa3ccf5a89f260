//! Requests that were refused, on their way into the node's own stream `audit-<node>-<incarnation>`. They are gathered
//! for a second, by address and status, and stored by one append: whoever is refused a thousand times a second costs
//! one event. Never in here: a decision about what is refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::committer::CommitError;
use super::services::Services;
use crate::domain::audit::{AuditEvent, RequestRefused};
use crate::domain::codec::EventSet;
use crate::domain::event::{NewEvent, Origin};
use crate::domain::ids::{CorrelationId, EventId, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::{REFUSALS, REFUSALS_EVERY};
use crate::ports::event_store::{Append, AppendOutcome, StreamAppend};

/// In the place of an address when too many were refused within a second to tell them apart.
const OTHERS: &str = "others";

/// What was refused and is not recorded yet.
#[derive(Debug, Default)]
pub struct Refusals {
    gathered: Mutex<HashMap<(String, u16), RequestRefused>>,
    news: Notify,
}

impl Refusals {
    /// A request was refused. Never waits; of more than [`REFUSALS`] kinds within a second the rest is counted together.
    pub fn note(&self, refused: RequestRefused) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let full = gathered.len() >= REFUSALS;
        let mut key = (refused.address.clone(), refused.status);
        if full && !gathered.contains_key(&key) {
            key.0 = OTHERS.to_owned();
        }
        match gathered.entry(key) {
            Entry::Occupied(mut known) => known.get_mut().count += refused.count,
            Entry::Vacant(place) => {
                let address = place.key().0.clone();
                place.insert(RequestRefused { address, ..refused });
            }
        }
        drop(gathered);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<RequestRefused> {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<RequestRefused> = gathered.drain().map(|(_, refused)| refused).collect();
        all.sort_by(|a, b| (&a.address, a.status).cmp(&(&b.address, b.status)));
        all
    }
}

/// The one who writes the node's stream.
pub(super) struct Recorder {
    services: Arc<Services>,
    stream: StreamId,
    version: Version,
    leaf: LeafHash,
    /// Events whose append has no outcome yet: they are sent again as they are, so that they are stored once.
    pending: Vec<NewEvent>,
}

impl Recorder {
    pub(super) fn new(services: Arc<Services>) -> Self {
        let stream = StreamId::audit(&services.node, services.incarnation);
        Self { services, stream, version: Version(0), leaf: LeafHash::NONE, pending: Vec::new() }
    }

    /// Records what is refused until the node drains, then the rest.
    pub(super) async fn run(mut self) {
        let services = Arc::clone(&self.services);
        while !services.draining.is_cancelled() {
            tokio::select! {
                () = services.refusals.news.notified() => {}
                () = services.draining.cancelled() => {}
            }
            tokio::select! {
                () = tokio::time::sleep(REFUSALS_EVERY) => {}
                () = services.draining.cancelled() => {}
            }
            self.record().await;
        }
    }

    async fn record(&mut self) {
        if self.pending.is_empty() {
            self.pending =
                self.services.refusals.take().into_iter().map(|refused| self.event(refused)).collect();
        }
        if self.pending.is_empty() {
            return;
        }
        let committed = self.services.shared.committer.append(self.unit()).await;
        match committed.map(|commit| (commit.outcome, commit.leaf)) {
            Ok((AppendOutcome::Committed(_), leaf)) => {
                self.version.0 += self.pending.len() as u64;
                self.leaf = leaf;
                self.pending.clear();
            }
            Ok((AppendOutcome::Duplicate(_), _)) => {
                self.pending.clear();
                self.look().await;
            }
            Ok((AppendOutcome::Fenced { .. }, _)) => self.services.shared.superseded.cancel(),
            // an earlier append was stored whose answer was lost
            Ok((AppendOutcome::Conflict { .. } | AppendOutcome::CommandReused, _)) => {
                self.look().await;
                self.services.refusals.news.notify_one();
            }
            Err(CommitError::Failed) => {
                tracing::error!(count = self.pending.len(), "refused requests were not recorded");
                self.pending.clear();
            }
            // the store is away: what is pending is sent again, what is refused meanwhile is gathered
            Err(error) => {
                tracing::warn!(%error, "refused requests wait to be recorded");
                self.services.refusals.news.notify_one();
            }
        }
    }

    /// Where the stream ends, to chain the next event to it. One append is at most [`REFUSALS`] and a few events ahead.
    async fn look(&mut self) {
        match self.services.shared.store.read_stream(&self.stream, self.version, 2 * REFUSALS).await {
            Ok(events) => {
                if let Some(last) = events.last() {
                    (self.version, self.leaf) = (last.version, last.hashes.leaf);
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the audit stream cannot be read");
            }
        }
    }

    fn event(&self, refused: RequestRefused) -> NewEvent {
        let encoded = AuditEvent::from(refused).encode();
        NewEvent {
            id: EventId(self.services.shared.ids.uuid()),
            kind: encoded.kind,
            schema_version: encoded.schema_version,
            payload: encoded.payload,
        }
    }

    fn unit(&self) -> Append {
        let epoch = self.services.shared.epochs[usize::from(self.stream.shard().0)];
        Append {
            command: None,
            origin: Origin {
                actor: format!("node:{}", self.services.node),
                // the events of a unit belong to many requests: each holds its own
                correlation_id: CorrelationId(self.pending[0].id.0),
                causation_id: None,
            },
            streams: vec![StreamAppend {
                stream: self.stream.clone(),
                epoch,
                expected: self.version,
                previous: self.leaf,
                events: self.pending.clone(),
            }],
            wakeups: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn refused(address: &str, status: u16) -> RequestRefused {
        RequestRefused {
            address: address.to_owned(),
            actor: format!("anonymous@{address}"),
            method: "POST".to_owned(),
            path: "/x".to_owned(),
            status,
            correlation_id: CorrelationId(Uuid::nil()),
            count: 1,
        }
    }

    #[test]
    fn refusals_are_gathered_by_address_and_status_within_a_bound() {
        let refusals = Refusals::default();
        for _ in 0..1_000 {
            refusals.note(refused("a", 404));
        }
        refusals.note(refused("a", 422));
        for n in 0..2 * REFUSALS {
            refusals.note(refused(&format!("b{n}"), 409));
        }
        let taken = refusals.take();
        assert!(taken.len() <= REFUSALS + 1, "{}", taken.len());
        assert_eq!(taken.iter().map(|r| r.count).sum::<u64>(), 1_001 + 2 * REFUSALS as u64, "none is lost");
        assert_eq!(taken[0].count, 1_000);
        assert!(taken.iter().any(|r| r.address == OTHERS && r.count > 1));
        assert!(refusals.take().is_empty());
    }
}
