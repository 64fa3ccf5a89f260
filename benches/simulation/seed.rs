//! The pipelines that a simulated cluster begins with: stored, projected, and in nobody's memory. Never a node.

use std::time::Duration;

use flexcore_actors::domain::codec::EventSet;
use flexcore_actors::domain::event::{NewEvent, Origin};
use flexcore_actors::domain::ids::{CorrelationId, Epoch, EventId, Name, Position, StreamId, Version};
use flexcore_actors::domain::integrity::leaf::LeafHash;
use flexcore_actors::domain::pipeline::{Definition, PipelineCreated, PipelineEvent, read_definition};
use flexcore_actors::domain::projection::View;
use flexcore_actors::ports::batch::Batch;
use flexcore_actors::ports::cluster::MemberState;
use flexcore_actors::ports::event_store::{Append, AppendOutcome, EventFilter, StreamAppend};
use flexcore_actors::ports::read_models::Advance;
use flexcore_actors::ports::{ClusterStore, EventStore, IdSource, ReadModels};
use flexcore_actors::testkit::conformance::own_all;
use flexcore_actors::testkit::{MemoryReadModels, MemoryStore};
use jiff::Timestamp;
use serde_json::json;

/// Who stores them.
const WRITER: &str = "seed";
/// Pipelines in one batch.
const BATCH: usize = 10_000;
/// How often it is looked whether the read models are open.
const LOOK: Duration = Duration::from_millis(10);

/// The name of a pipeline.
pub fn name(number: usize) -> Name {
    Name::new(format!("pipeline-{number:07}")).expect("a name")
}

/// Stores so many pipelines, each with the event of its making, then leaves the cluster.
pub async fn pipelines(store: &MemoryStore, ids: &dyn IdSource, many: usize) {
    let epochs = own_all(store, WRITER).await;
    let steps = json!([{"name": "load", "plugin": "tap"}]);
    let definition = read_definition(&json!({"name": "any", "steps": steps})).expect("a definition");
    // later than what the first node stored, and another moment for each batch
    for (at, first) in (1..).zip((0..many).step_by(BATCH)) {
        let numbers = first..many.min(first + BATCH);
        let units = numbers.map(|number| made(number, &definition, ids, &epochs)).collect();
        let at = Timestamp::from_second(1_767_312_000 + at).expect("a time in range");
        let batch = Batch::new(WRITER, at, units).expect("units of different streams").into();
        let outcomes = store.append(batch).await.expect("the store in memory answers");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Committed(_))));
    }
    let view = store.view().await.expect("the store in memory answers");
    for member in view.members.iter().filter(|member| member.state == MemberState::Live) {
        store.leave(member.incarnation).await.expect("the store in memory answers");
    }
}

fn made(number: usize, definition: &Definition, ids: &dyn IdSource, epochs: &[Epoch]) -> Append {
    let (name, stream) = (name(number), StreamId::pipeline(&name(number)));
    let definition = Definition { name, ..definition.clone() };
    let encoded = PipelineEvent::from(PipelineCreated { definition }).encode();
    let event = NewEvent {
        id: EventId(ids.uuid()),
        kind: encoded.kind,
        schema_version: encoded.schema_version,
        payload: encoded.payload,
    };
    let epoch = Some(epochs[usize::from(stream.shard().0)]);
    let (expected, previous) = (Version(0), LeafHash::NONE);
    let part = StreamAppend { stream, epoch, expected, previous, events: vec![event] };
    let correlation_id = CorrelationId(ids.uuid());
    let origin = Origin { actor: WRITER.to_owned(), correlation_id, causation_id: None };
    Append { command: None, origin, streams: vec![part], wakeups: Vec::new() }
}

/// Waits until a node has opened all read models.
pub async fn until_open(models: &MemoryReadModels) {
    while models.projections().await.expect("read models in memory answer").len() < View::ALL.len() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets the read models say that they know the log as it is, without a row: lists are no part of the simulation.
pub async fn project(store: &MemoryStore, models: &MemoryReadModels) {
    let head = store.head().await.expect("the store in memory answers");
    let last = store.read_all(Position(head.0 - 1), 1, &EventFilter::default()).await;
    let last_event = last.expect("the store in memory answers")[0].id;
    for known in models.projections().await.expect("read models in memory answer") {
        let advance = Advance {
            view: known.view,
            from: known.live,
            position: head,
            last_event,
            upserts: Vec::new(),
            deletes: Vec::new(),
            parked: Vec::new(),
        };
        models.advance(&advance).await.expect("read models in memory answer");
    }
}
