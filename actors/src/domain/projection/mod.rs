//! Read models as pure functions: how recorded events change the rows that lists are read from. What an event means
//! to an aggregate is said once, by the aggregate's own `apply`; a row holds the folded state.
//!
//! **Boundary:** no clock, no I/O: rows are loaded before and stored afterwards by others ([`crate::ports::ReadModels`]).

mod aggregates;
mod audit;
mod fold;
mod metrics;
#[cfg(test)]
mod tests;
mod view;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::CodecError;
use super::event::RecordedEvent;

pub use aggregates::{AggregateRow, Executions, Pipelines, Plugins};
pub use audit::{Audit, AuditEntry, AuditedEvent, OUTCOMES};
pub use fold::{Changes, Parked, Rows, Unreadable, fold, keys, read_document};
pub use metrics::{Bucket, Metrics, MetricsRow};
pub use view::{Order, Tag, View};

/// How events change the rows of one view.
pub trait Projection: Send + Sync + 'static {
    /// What a row holds.
    type State: Clone + Serialize + DeserializeOwned + Send + Sync;
    /// The view.
    const VIEW: View;
    /// The number of the rows' shape and of what events mean to them; raised whenever either changes. A store whose
    /// rows have a lower number is rebuilt.
    const SHAPE: u32;

    /// The keys of the rows that the event may change; none when the event does not concern the view.
    fn keys(event: &RecordedEvent) -> Vec<String>;

    /// Changes the rows that [`Projection::keys`] named, as one event says. Reads the event before it changes anything.
    ///
    /// # Errors
    /// When the event cannot be read; nothing has changed then.
    fn apply(event: &RecordedEvent, rows: &mut Rows<Self::State>) -> Result<(), CodecError>;

    /// By what the row is found.
    fn indexed(state: &Self::State) -> Indexed;
}

/// By what a row is found and ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Its time; microseconds count.
    pub at: Timestamp,
    /// The values of the view's tags, in their order.
    pub tags: Vec<Option<String>>,
}

/// A row of a view as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Unique within the view.
    pub key: String,
    /// By what it is found.
    pub indexed: Indexed,
    /// The state: a MessagePack map with named fields.
    pub document: Bytes,
}
