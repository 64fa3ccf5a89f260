//! Folds a page of events into the rows it touches. An event that cannot be applied is left out and named; it never
//! stops those after it.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Projection, Row};
use crate::domain::codec;
use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;

/// The rows that a page of events may change, by key.
#[derive(Debug)]
pub struct Rows<S> {
    rows: HashMap<String, Slot<S>>,
}

#[derive(Debug)]
struct Slot<S> {
    state: Option<S>,
    stored: bool,
    touched: bool,
}

impl<S> Rows<S> {
    /// The row of a key, to be changed; `None` while there is none, and to remove it.
    ///
    /// # Panics
    /// When the projection did not name the key beforehand: a defect of the projection.
    pub fn at(&mut self, key: &str) -> &mut Option<S> {
        let slot = self.rows.get_mut(key).expect("a projection changes only the rows it named");
        slot.touched = true;
        &mut slot.state
    }
}

/// What a page of events changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows to be stored, by key.
    pub upserts: Vec<Row>,
    /// Keys of rows to be removed.
    pub deletes: Vec<String>,
    /// Events that were left out.
    pub parked: Vec<Parked>,
}

/// An event that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Where it is.
    pub position: Position,
    /// Why.
    pub error: String,
}

/// A stored row that cannot be read: its view has to be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("row {key:?} of read model {view} cannot be read")]
pub struct Unreadable {
    /// The view.
    pub view: &'static str,
    /// The row.
    pub key: String,
    /// What the decoder said.
    #[source]
    pub source: rmp_serde::decode::Error,
}

/// The keys of the rows that a page of events may change, each once.
#[must_use]
pub fn keys<P: Projection>(events: &[RecordedEvent]) -> Vec<String> {
    events.iter().flat_map(P::keys).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The state that a row holds.
///
/// # Errors
/// When it was written in another shape.
pub fn read_document<P: Projection>(row: &Row) -> Result<P::State, Unreadable> {
    codec::from_bytes(&row.document).map_err(|source| Unreadable {
        view: P::VIEW.as_str(),
        key: row.key.clone(),
        source,
    })
}

/// Applies events in order to the stored rows that they name.
///
/// # Errors
/// When a stored row cannot be read.
pub fn fold<P: Projection>(events: &[RecordedEvent], stored: &[Row]) -> Result<Changes, Unreadable> {
    let mut panicked = BTreeSet::new();
    loop {
        match run::<P>(events, load::<P>(events, stored)?, &panicked) {
            Ok(changes) => return Ok(changes),
            // what a panic left half done is dropped with its rows: the page is folded again without the event
            Err(position) => panicked.insert(position),
        };
    }
}

fn load<P: Projection>(events: &[RecordedEvent], stored: &[Row]) -> Result<Rows<P::State>, Unreadable> {
    let empty = |key| (key, Slot { state: None, stored: false, touched: false });
    let mut rows: HashMap<_, _> = events.iter().flat_map(P::keys).map(empty).collect();
    for row in stored {
        let slot = Slot { state: Some(read_document::<P>(row)?), stored: true, touched: false };
        rows.insert(row.key.clone(), slot);
    }
    Ok(Rows { rows })
}

fn run<P: Projection>(
    events: &[RecordedEvent],
    mut rows: Rows<P::State>,
    panicked: &BTreeSet<Position>,
) -> Result<Changes, Position> {
    let mut parked = Vec::new();
    for event in events {
        if panicked.contains(&event.position) {
            parked.push(Parked { position: event.position, error: "the projection panicked".to_owned() });
            continue;
        }
        let applied = catch_unwind(AssertUnwindSafe(|| P::apply(event, &mut rows)));
        match applied {
            Ok(Ok(())) => {}
            Ok(Err(error)) => parked.push(Parked { position: event.position, error: error.to_string() }),
            Err(_) => return Err(event.position),
        }
    }
    let mut changes = Changes { parked, ..Changes::default() };
    for (key, slot) in rows.rows.into_iter().filter(|(_, slot)| slot.touched) {
        match slot.state {
            Some(state) => changes.upserts.push(Row {
                key,
                indexed: P::indexed(&state),
                document: codec::to_bytes(&state),
            }),
            None if slot.stored => changes.deletes.push(key),
            None => {}
        }
    }
    // the same order in every transaction: two of them never wait for each other's rows in a circle
    changes.upserts.sort_by(|a, b| a.key.cmp(&b.key));
    changes.deletes.sort();
    Ok(changes)
}
