//! Read models: rows that lists are read from, derived from the events and rebuildable from them at any time.
//!
//! The promises, each with its conformance test in the testkit:
//! - changes and the position they reflect are stored together or not at all;
//! - of two projectors at the same position one advances, the other is told that it was superseded;
//! - a list shows the live generation, at the position it names or a later one;
//! - a rebuild is beside the live generation and never seen before it replaces it;
//! - an event that is left out is named from the moment that its position is passed, as long as its generation lives.
//!
//! Losing the last changes in a crash is allowed (the position goes back with them); losing some of them is not.

use bytes::Bytes;
use jiff::Timestamp;

use super::BoxFuture;
use super::event_store::StoreError;
use crate::domain::ids::{EventId, Position};
use crate::domain::projection::{Parked, Row, View};

/// One filling of a view's rows: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// How far a generation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The generation.
    pub generation: Generation,
    /// All events up to here are in its rows, or parked.
    pub position: Position,
    /// The event at that position; `None` at the beginning. Tells another history of events from this one.
    pub last_event: Option<EventId>,
}

/// What is known of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projected {
    /// Its view.
    pub view: View,
    /// The shape of the live rows; see [`crate::domain::projection::Projection::SHAPE`].
    pub shape: u32,
    /// What lists are read from.
    pub live: Progress,
    /// What is built beside it, and in which shape.
    pub building: Option<(Progress, u32)>,
    /// How many events are left out of the live rows.
    pub parked: u64,
}

/// An event that is left out of the live rows of a view, because it could not be folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The event.
    pub position: Position,
    /// Why.
    pub error: String,
    /// When it was stored, by the store's clock.
    pub parked_at: Timestamp,
}

/// What one page of events changed, to be stored in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The view.
    pub view: View,
    /// From where: the generation and the position it has now; otherwise nothing is stored.
    pub from: Progress,
    /// To where.
    pub position: Position,
    /// The event at that position.
    pub last_event: EventId,
    /// Rows to be stored, each key once.
    pub upserts: Vec<Row>,
    /// Keys of rows to be removed, none of them among the upserts.
    pub deletes: Vec<String>,
    /// Events of the page that could not be folded, in order.
    pub parked: Vec<Parked>,
}

/// What became of an [`Advance`] or of a swap. Of a generation that is gone nothing is ever stored again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// Stored.
    Yes,
    /// The generation is at another position or gone: someone else works on it. Nothing was stored.
    Superseded,
}

/// Which rows a list holds; all given conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowQuery {
    /// The view.
    pub view: View,
    /// Tags and the value they must have; each of them is one of the view's.
    pub tags: Vec<(&'static str, String)>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Beyond this row, in the view's order.
    pub after: Option<RowCursor>,
    /// At most so many.
    pub limit: usize,
}

/// A row's place in its view's order. The time counts only where the view is ordered by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCursor {
    /// Its time.
    pub at: Timestamp,
    /// Its key.
    pub key: String,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPage {
    /// The rows, in the view's order.
    pub rows: Vec<Row>,
    /// The position they reflect at least.
    pub position: Position,
}

/// Where read models are kept.
pub trait ReadModels: Send + Sync + 'static {
    /// What is known of a projection; one that is not there yet begins as generation 1 at position 0 with this shape.
    fn open(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>>;

    /// What is known of every projection, by name. Those that were never opened are absent.
    fn projections(&self) -> BoxFuture<'_, Result<Vec<Projected>, StoreError>>;

    /// The rows of a generation that have these keys, in no order; absent ones are left out.
    fn load<'a>(
        &'a self,
        view: View,
        generation: Generation,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>>;

    /// Stores what a page of events changed, in the live generation or the one that is built.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when it may have been stored: [`ReadModels::open`] tells.
    fn advance<'a>(&'a self, advance: &'a Advance) -> BoxFuture<'a, Result<Advanced, StoreError>>;

    /// Begins to build a generation beside the live one, or answers with the one that is being built in this shape.
    /// One that is being built in another shape is given up.
    fn begin_rebuild(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>>;

    /// Begins anew: an empty live generation at position 0, nothing beside it. For rows of another history of events,
    /// which no rebuild beside them could follow.
    fn reset(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>>;

    /// Makes the generation that is built the live one, if it has come at least as far.
    fn swap(&self, view: View, generation: Generation) -> BoxFuture<'_, Result<Advanced, StoreError>>;

    /// Removes at most `limit` rows and parked events of generations that are neither live nor being built; answers how
    /// many it removed.
    fn sweep(&self, view: View, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Events that are left out of the live generation, beyond a position, in order, at most `limit`.
    fn parked(
        &self,
        view: View,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeftOut>, StoreError>>;

    /// A page of the live generation.
    fn list<'a>(&'a self, query: &'a RowQuery) -> BoxFuture<'a, Result<RowPage, StoreError>>;

    /// One row of the live generation.
    fn find<'a>(&'a self, view: View, key: &'a str) -> BoxFuture<'a, Result<Option<Row>, StoreError>>;
}

/// A tag's values that a statement asks for one by one; see [`access`].
pub type Words<'a> = Vec<&'a str>;

/// How a list is read through the index that suits it: for each combination of `words` one walk along the index, which
/// begins with their tags in this order; `rest` is compared row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access<'a> {
    /// The index's tags, each with the values to ask for.
    pub words: Vec<(&'static str, Words<'a>)>,
    /// Conditions that the index does not hold.
    pub rest: Vec<(&'static str, &'a str)>,
}

impl<'a> Access<'a> {
    /// Every combination of the words, in order; one value for each tag of the index.
    #[must_use]
    pub fn combinations(&self) -> Vec<Vec<(&'static str, &'a str)>> {
        let mut all = vec![Vec::new()];
        for (tag, words) in &self.words {
            let longer = |known: Vec<_>| {
                words.iter().map(move |word| known.iter().copied().chain([(*tag, *word)]).collect())
            };
            all = all.into_iter().flat_map(longer).collect();
        }
        all
    }
}

/// How a query is read, the same in every store that has indexes: by the first path whose open tags are all given. A
/// closed tag that is not given is asked for word by word.
#[must_use]
pub fn access(query: &RowQuery) -> Access<'_> {
    let view = query.view;
    let given = |name: &str| query.tags.iter().find(|(tag, _)| *tag == name).map(|(_, value)| value.as_str());
    let words_of = |name: &&'static str| -> Option<(&'static str, Words<'_>)> {
        let tag = view.tags().iter().find(|tag| tag.name == *name)?;
        match given(name) {
            Some(value) => Some((tag.name, vec![value])),
            None if tag.words.is_empty() => None,
            None => Some((tag.name, tag.words.to_vec())),
        }
    };
    let path = view.paths().iter().find_map(|path| path.iter().map(words_of).collect::<Option<Vec<_>>>());
    let words = path.unwrap_or_default();
    let rest = query.tags.iter().filter(|(tag, _)| !words.iter().any(|(indexed, _)| indexed == tag));
    let rest = rest.map(|(tag, value)| (*tag, value.as_str())).collect();
    Access { words, rest }
}

/// A document, for adapters that hand rows on.
#[must_use]
pub fn row(key: String, at: Timestamp, tags: Vec<Option<String>>, document: Bytes) -> Row {
    Row { key, indexed: crate::domain::projection::Indexed { at, tags }, document }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(tags: &[(&'static str, &str)]) -> RowQuery {
        RowQuery {
            view: View::Executions,
            tags: tags.iter().map(|(tag, value)| (*tag, (*value).to_owned())).collect(),
            from: None,
            to: None,
            after: None,
            limit: 10,
        }
    }

    #[test]
    fn a_query_walks_the_index_that_suits_it() {
        let by = |tags: &[(&'static str, &str)]| {
            let query = query(tags);
            let access = access(&query);
            let names: Vec<_> = access.words.iter().map(|(tag, words)| (*tag, words.len())).collect();
            (names, access.combinations().len(), access.rest.len())
        };
        assert_eq!(by(&[]), (vec![("kind", 2), ("status", 6)], 12, 0));
        assert_eq!(by(&[("status", "failed")]), (vec![("kind", 2), ("status", 1)], 2, 0));
        assert_eq!(by(&[("pipeline", "p")]), (vec![("pipeline", 1), ("status", 6)], 6, 0));
        assert_eq!(by(&[("plugin", "q"), ("status", "failed")]), (vec![("plugin", 1), ("status", 1)], 1, 0));
        assert_eq!(
            by(&[("pipeline", "p"), ("kind", "plugin")]),
            (vec![("pipeline", 1), ("status", 6)], 6, 1)
        );
    }

    #[test]
    fn combinations_hold_one_value_for_each_tag() {
        let query = query(&[("status", "paused")]);
        let expected =
            [[("kind", "pipeline"), ("status", "paused")], [("kind", "plugin"), ("status", "paused")]];
        assert_eq!(access(&query).combinations(), expected.map(|c| c.to_vec()));
    }
}
