//! What was done to the store beside the nodes, by who has it in hand, recorded in the audit log: a stream of this one deed
//! (`audit-cli-…`), so that nobody else writes it. Never in here: who may do what.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::audit::{AuditEvent, RequestAccepted};
use crate::domain::codec::EventSet;
use crate::domain::event::{NewEvent, Origin};
use crate::domain::ids::{CorrelationId, EventId, Incarnation, StreamId, Version};
use crate::domain::integrity::leaf::LeafHash;
use crate::ports::batch::{Batch, MalformedBatch};
use crate::ports::event_store::{Append, AppendOutcome, StoreError, StreamAppend};
use crate::ports::{Clock, EventStore, IdSource};

/// How often an append without an answer is sent again: its event's id makes it stored once.
const RESENDS: usize = 3;
/// The status of what was done, as if it had been a request.
const DONE: u16 = 200;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Who did it, such as `ada@host`.
    pub actor: String,
    /// On which host.
    pub address: String,
    /// What it was; never a secret's value.
    pub action: String,
}

/// Records what was done; durable when it returns.
///
/// # Errors
/// When it is not, or perhaps not, recorded.
pub async fn record(
    store: &dyn EventStore,
    clock: &dyn Clock,
    ids: &dyn IdSource,
    deed: Deed,
) -> Result<(), StoreError> {
    const OPERATION: &str = "record in the audit log";
    let batch = batch(clock, ids, deed)
        .map_err(|error| StoreError::Failed { operation: OPERATION, source: Box::new(error) })?;
    let mut resends = 0;
    let outcomes = loop {
        match store.append(Arc::clone(&batch)).await {
            Err(StoreError::Unknown { .. }) if resends < RESENDS => resends += 1,
            outcomes => break outcomes?,
        }
    };
    match &outcomes[..] {
        [AppendOutcome::Committed(_) | AppendOutcome::Duplicate(_)] => Ok(()),
        other => {
            Err(StoreError::Failed { operation: OPERATION, source: format!("refused as {other:?}").into() })
        }
    }
}

fn batch(clock: &dyn Clock, ids: &dyn IdSource, deed: Deed) -> Result<Arc<Batch>, MalformedBatch> {
    let (life, correlation_id) = (Incarnation(ids.uuid()), CorrelationId(ids.uuid()));
    let node = writer(life.0);
    let Deed { actor, address, action } = deed;
    let origin = Origin { actor: actor.clone(), correlation_id, causation_id: None };
    let stream = None;
    let (status, count) = (DONE, 1);
    let request = RequestAccepted { address, actor, action, stream, status, correlation_id, count };
    let encoded = AuditEvent::from(request).encode();
    let event = NewEvent {
        id: EventId(ids.uuid()),
        kind: encoded.kind,
        schema_version: encoded.schema_version,
        payload: encoded.payload,
    };
    let (stream, expected) = (StreamId::audit(&node, life), Version(0));
    // nobody else writes the stream
    let part = StreamAppend { stream, epoch: None, expected, previous: LeafHash::NONE, events: vec![event] };
    let unit = Append { command: None, origin, streams: vec![part], wakeups: Vec::new() };
    Batch::new(&node, clock.now(), vec![unit]).map(Arc::new)
}

/// The name under which it is stored: one for each deed, for the digest over the log tells commits apart by time and name,
/// and two commands may run in the same microsecond.
fn writer(life: Uuid) -> String {
    let [.., a, b, c, d] = *life.as_bytes();
    format!("cli-{a:02x}{b:02x}{c:02x}{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Category, Position};
    use crate::ports::event_store::EventFilter;
    use crate::testkit::{Fault, ManualClock, MemoryStore};

    #[tokio::test]
    async fn what_was_done_is_recorded_once_by_its_own_stream() {
        let (store, clock) = (MemoryStore::new(), ManualClock::new(1));
        let deed = |action: &str| Deed {
            actor: "ada@host".to_owned(),
            address: "host".to_owned(),
            action: action.to_owned(),
        };
        store.inject([Fault::AnswerLost]);
        record(&store, &clock, &clock, deed("secrets set A")).await.unwrap();
        record(&store, &clock, &clock, deed("secrets delete A")).await.unwrap();
        let events = store.read_all(Position(0), 10, &EventFilter::default()).await.unwrap();
        let told: Vec<_> = events
            .iter()
            .map(|event| {
                let known: StreamId = event.stream.as_str().parse().unwrap();
                assert_eq!(known.category(), Category::Audit);
                match AuditEvent::decode(&event.kind, event.schema_version, &event.payload).unwrap() {
                    AuditEvent::RequestAccepted(request) => (request.actor, request.action),
                    other @ AuditEvent::RequestRefused(_) => panic!("{other:?}"),
                }
            })
            .collect();
        let ada = || "ada@host".to_owned();
        assert_eq!(told, [(ada(), "secrets set A".to_owned()), (ada(), "secrets delete A".to_owned())]);
        assert_ne!(events[0].stream, events[1].stream);
        store.inject([Fault::Refused]);
        assert!(record(&store, &clock, &clock, deed("secrets set A")).await.unwrap_err().retryable());
    }
}
