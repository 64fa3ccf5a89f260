//! One row an aggregate: its state, folded by its own `apply`. What a list never shows and only takes room is left out.

use serde::{Deserialize, Serialize};

use super::{Indexed, Projection, Rows, View};
use crate::domain::aggregate::{Aggregate, Recorded};
use crate::domain::codec::{CodecError, EventSet};
use crate::domain::event::RecordedEvent;
use crate::domain::execution::Execution;
use crate::domain::ids::{CorrelationId, Position};
use crate::domain::pipeline::Pipeline;
use crate::domain::plugin::Plugin;

/// The row of an aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateRow<A> {
    /// Its state.
    pub state: A,
    /// What its last event belongs to.
    pub correlation_id: CorrelationId,
    /// The position of its last event.
    pub position: Position,
}

/// Pipelines, without their bookmarks.
#[derive(Debug, Clone, Copy)]
pub struct Pipelines;

/// Plugins.
#[derive(Debug, Clone, Copy)]
pub struct Plugins;

/// Executions, without what their steps run.
#[derive(Debug, Clone, Copy)]
pub struct Executions;

impl Projection for Pipelines {
    type State = AggregateRow<Pipeline>;
    const VIEW: View = View::Pipelines;
    const SHAPE: u32 = shape(1, Pipeline::SHAPE);

    fn keys(event: &RecordedEvent) -> Vec<String> {
        keys::<Pipeline>(event)
    }

    fn apply(event: &RecordedEvent, rows: &mut Rows<Self::State>) -> Result<(), CodecError> {
        // a bookmark may be megabytes, and would be written again with every change of the row
        apply::<Pipeline>(event, rows, |state| state.bookmarks.clear())
    }

    fn indexed(row: &Self::State) -> Indexed {
        let at = row.state.created_at.unwrap_or_default();
        Indexed { at, tags: vec![Some(row.state.status.as_str().to_owned())] }
    }
}

impl Projection for Plugins {
    type State = AggregateRow<Plugin>;
    const VIEW: View = View::Plugins;
    const SHAPE: u32 = shape(1, Plugin::SHAPE);

    fn keys(event: &RecordedEvent) -> Vec<String> {
        keys::<Plugin>(event)
    }

    fn apply(event: &RecordedEvent, rows: &mut Rows<Self::State>) -> Result<(), CodecError> {
        apply::<Plugin>(event, rows, |_| ())
    }

    fn indexed(row: &Self::State) -> Indexed {
        let at = row.state.updated_at.unwrap_or_default();
        Indexed { at, tags: vec![Some(row.state.status.as_str().to_owned())] }
    }
}

impl Projection for Executions {
    type State = AggregateRow<Execution>;
    const VIEW: View = View::Executions;
    const SHAPE: u32 = shape(1, Execution::SHAPE);

    fn keys(event: &RecordedEvent) -> Vec<String> {
        keys::<Execution>(event)
    }

    fn apply(event: &RecordedEvent, rows: &mut Rows<Self::State>) -> Result<(), CodecError> {
        apply::<Execution>(event, rows, |state| {
            for step in &mut state.steps {
                step.step.pipe = Vec::new();
            }
        })
    }

    fn indexed(row: &Self::State) -> Indexed {
        let state = &row.state;
        let kind = if state.plugin.is_some() { "plugin" } else { "pipeline" };
        let text = |name: &crate::domain::ids::Name| name.to_string();
        let tags = vec![
            state.pipeline.as_ref().map(text),
            state.plugin.as_ref().map(text),
            Some(kind.to_owned()),
            state.phase.map(|phase| phase.as_str().to_owned()),
        ];
        Indexed { at: state.queued_at.unwrap_or_default(), tags }
    }
}

/// The number of a row's shape: its own, which rises when rows leave out or add something, and the folded state's.
const fn shape(own: u32, state: u32) -> u32 {
    own * 1_000 + state
}

fn keys<A: Aggregate>(event: &RecordedEvent) -> Vec<String> {
    if event.stream.category() == A::CATEGORY { vec![event.stream.id().to_owned()] } else { Vec::new() }
}

fn apply<A: Aggregate>(
    event: &RecordedEvent,
    rows: &mut Rows<AggregateRow<A>>,
    trim: impl FnOnce(&mut A),
) -> Result<(), CodecError> {
    let change = A::Event::decode(&event.kind, event.schema_version, &event.payload)?;
    let (correlation_id, position) = (event.origin.correlation_id, event.position);
    let row = rows.at(event.stream.id()).get_or_insert_with(|| AggregateRow {
        state: A::default(),
        correlation_id,
        position,
    });
    row.state.apply(&change, Recorded { version: event.version, at: event.recorded_at });
    trim(&mut row.state);
    (row.correlation_id, row.position) = (correlation_id, position);
    Ok(())
}
