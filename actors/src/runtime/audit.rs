//! Requests that no aggregate's events tell of (refused, or accepted without a change), on their way into the node's own
//! stream `audit-<node>-<incarnation>`. They are gathered for a second, by who asked what and how it was answered, and
//! stored by one append: whoever is refused a thousand times a second costs one event. Never in here: a decision about
//! what is refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::committer::CommitError;
use super::services::Services;
use crate::domain::audit::AuditEvent;
use crate::domain::codec::EventSet;
use crate::domain::event::{NewEvent, Origin};
use crate::domain::ids::{CorrelationId, EventId, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::limits::{AUDIT_EVERY, AUDIT_KINDS};
use crate::ports::event_store::{Append, AppendOutcome, StreamAppend};

/// In the place of an address when there was too much within a second to be told apart.
const OTHERS: &str = "others";

/// What is not recorded yet.
#[derive(Debug, Default)]
pub struct Unrecorded {
    gathered: Mutex<HashMap<Kind, AuditEvent>>,
    news: Notify,
}

/// Where requests came from, how they were answered, and what they asked: one event each.
type Kind = (String, u16, String);

impl Unrecorded {
    /// A request was answered. Never waits; of more than [`AUDIT_KINDS`] kinds within a second the rest is counted together.
    pub fn note(&self, mut request: AuditEvent) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let (address, status, asked) = request.kind_of_request();
        let mut kind = (address.to_owned(), status, asked);
        if gathered.len() >= AUDIT_KINDS && !gathered.contains_key(&kind) {
            kind = (OTHERS.to_owned(), status, String::new());
            request.from_anywhere(OTHERS);
        }
        match gathered.entry(kind) {
            Entry::Occupied(mut known) => *known.get_mut().count_mut() += *request.count_mut(),
            Entry::Vacant(place) => {
                place.insert(request);
            }
        }
        drop(gathered);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<AuditEvent> {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(Kind, AuditEvent)> = gathered.drain().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.into_iter().map(|(_, request)| request).collect()
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

    /// Records what is noted until the node ends, then the rest.
    pub(super) async fn run(mut self) {
        let services = Arc::clone(&self.services);
        while !services.ending.is_cancelled() {
            tokio::select! {
                () = services.unrecorded.news.notified() => {}
                () = services.ending.cancelled() => {}
            }
            tokio::select! {
                () = tokio::time::sleep(AUDIT_EVERY) => {}
                () = services.ending.cancelled() => {}
            }
            self.record().await;
        }
    }

    async fn record(&mut self) {
        if self.pending.is_empty() {
            self.pending =
                self.services.unrecorded.take().iter().map(|request| self.event(request)).collect();
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
            // nobody else writes the stream, and no epoch is checked
            Ok((AppendOutcome::Fenced { .. }, _)) => self.pending.clear(),
            // an earlier append was stored whose answer was lost
            Ok((AppendOutcome::Conflict { .. } | AppendOutcome::CommandReused, _)) => {
                self.look().await;
                self.services.unrecorded.news.notify_one();
            }
            Err(CommitError::Failed) => {
                tracing::error!(count = self.pending.len(), "requests were not recorded in the audit log");
                self.pending.clear();
            }
            // the store is away: what is pending is sent again, what is noted meanwhile is gathered
            Err(error) => {
                tracing::warn!(%error, "requests wait to be recorded in the audit log");
                self.services.unrecorded.news.notify_one();
            }
        }
    }

    /// Where the stream ends, to chain the next event to it. One append is at most [`AUDIT_KINDS`] and a few events ahead.
    async fn look(&mut self) {
        match self.services.shared.store.read_stream(&self.stream, self.version, 2 * AUDIT_KINDS).await {
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

    fn event(&self, request: &AuditEvent) -> NewEvent {
        let encoded = request.encode();
        NewEvent {
            id: EventId(self.services.shared.ids.uuid()),
            kind: encoded.kind,
            schema_version: encoded.schema_version,
            payload: encoded.payload,
        }
    }

    fn unit(&self) -> Append {
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
                // nobody else writes the stream of this life
                epoch: None,
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
    use crate::domain::audit::{RequestAccepted, RequestRefused};

    fn refused(address: &str, status: u16) -> AuditEvent {
        RequestRefused {
            address: address.to_owned(),
            actor: format!("anonymous@{address}"),
            method: "POST".to_owned(),
            path: "/x".to_owned(),
            status,
            correlation_id: CorrelationId(Uuid::nil()),
            count: 1,
        }
        .into()
    }

    fn accepted(address: &str, action: &str, stream: &str) -> AuditEvent {
        RequestAccepted {
            address: address.to_owned(),
            actor: format!("anonymous@{address}"),
            action: action.to_owned(),
            stream: stream.parse().ok(),
            status: 200,
            correlation_id: CorrelationId(Uuid::nil()),
            count: 1,
        }
        .into()
    }

    fn address(request: &AuditEvent) -> &str {
        request.kind_of_request().0
    }

    #[test]
    fn what_is_refused_is_told_apart_by_who_asked_and_what_they_would_change() {
        let refused = |status: u16, actor: &str, method: &str, path: &str| {
            AuditEvent::from(RequestRefused {
                address: "a".to_owned(),
                actor: actor.to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                status,
                correlation_id: CorrelationId(Uuid::nil()),
                count: 1,
            })
        };
        let unrecorded = Unrecorded::default();
        for path in ["/a", "/b"] {
            unrecorded.note(refused(401, "anonymous@a", "POST", path));
            for actor in ["token:1", "token:2"] {
                unrecorded.note(refused(403, actor, "POST", path));
                unrecorded.note(refused(403, actor, "GET", path));
            }
        }
        let mut taken = unrecorded.take();
        let mut counts: Vec<u64> = taken.iter_mut().map(|request| *request.count_mut()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 1, 1, 2, 2, 2], "{taken:?}");
    }

    #[test]
    fn refusals_of_one_kind_are_gathered_within_a_bound() {
        let unrecorded = Unrecorded::default();
        for _ in 0..1_000 {
            unrecorded.note(refused("a", 404));
        }
        unrecorded.note(refused("a", 422));
        for n in 0..2 * AUDIT_KINDS {
            unrecorded.note(refused(&format!("b{n}"), 409));
        }
        let mut taken = unrecorded.take();
        assert!(taken.len() <= AUDIT_KINDS + 1, "{}", taken.len());
        let counts: Vec<u64> = taken.iter_mut().map(|request| *request.count_mut()).collect();
        assert_eq!(counts.iter().sum::<u64>(), 1_001 + 2 * AUDIT_KINDS as u64, "none is lost");
        assert_eq!(counts[0], 1_000);
        assert!(taken.iter().zip(counts).any(|(request, count)| address(request) == OTHERS && count > 1));
        assert!(unrecorded.take().is_empty());
    }

    #[test]
    fn what_was_accepted_is_told_apart_by_what_was_asked() {
        let unrecorded = Unrecorded::default();
        for (action, stream) in [
            ("EnablePlugin", "plugin-a"),
            ("EnablePlugin", "plugin-a"),
            ("EnablePlugin", "plugin-b"),
            ("DisablePlugin", "plugin-a"),
            ("POST /projections/audit/rebuild", ""),
        ] {
            unrecorded.note(accepted("a", action, stream));
        }
        let mut taken = unrecorded.take();
        let counts: Vec<u64> = taken.iter_mut().map(|request| *request.count_mut()).collect();
        assert_eq!(counts, [1, 2, 1, 1], "{taken:?}");
        for n in 0..2 * AUDIT_KINDS {
            unrecorded.note(accepted("a", "EnablePlugin", &format!("plugin-{n}")));
        }
        let taken = unrecorded.take();
        assert_eq!(taken.len(), AUDIT_KINDS + 1);
        assert!(taken.iter().any(|request| address(request) == OTHERS));
    }
}
