//! Read models in memory, for tests: the reference that the real adapters are compared with. It forgets everything
//! when it is dropped and must never be offered to users.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;

use crate::domain::ids::Position;
use crate::domain::projection::{Order, Parked, Row, View};
use crate::ports::batch::whole_micros;
use crate::ports::event_store::StoreError;
use crate::ports::read_models::{
    Advance, Advanced, Generation, LeftOut, Progress, Projected, RowPage, RowQuery,
};
use crate::ports::{BoxFuture, ReadModels};

/// Read models that keep everything in memory.
#[derive(Debug, Default)]
pub struct MemoryReadModels {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    projections: BTreeMap<View, Projected>,
    rows: HashMap<(View, Generation), BTreeMap<String, Row>>,
    parked: HashMap<(View, Generation), BTreeMap<Position, LeftOut>>,
}

impl MemoryReadModels {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn open(&mut self, view: View, shape: u32) -> &mut Projected {
        let live = begin(Generation(1));
        self.projections.entry(view).or_insert(Projected { view, shape, live, building: None, parked: 0 })
    }

    /// What is known, with what is left out of the live rows.
    fn counted(&self, known: Projected) -> Projected {
        let parked = self.parked.get(&(known.view, known.live.generation));
        Projected { parked: parked.map_or(0, |parked| parked.len() as u64), ..known }
    }

    fn next(&self, view: View) -> Generation {
        let known = self.projections.get(&view);
        let building = known.and_then(|p| p.building).map_or(0, |(building, _)| building.generation.0);
        Generation(known.map_or(0, |p| p.live.generation.0).max(building) + 1)
    }

    fn advance(&mut self, advance: &Advance) -> Advanced {
        let Some(known) = self.projections.get_mut(&advance.view) else { return Advanced::Superseded };
        let progress = [Some(&mut known.live), known.building.as_mut().map(|(building, _)| building)];
        let at = |progress: &&mut Progress| {
            (progress.generation, progress.position) == (advance.from.generation, advance.from.position)
        };
        let Some(progress) = progress.into_iter().flatten().find(at) else { return Advanced::Superseded };
        progress.position = advance.position;
        progress.last_event = Some(advance.last_event);
        let rows = self.rows.entry((advance.view, advance.from.generation)).or_default();
        for row in &advance.upserts {
            let mut row = row.clone();
            row.indexed.at = whole_micros(row.indexed.at);
            rows.insert(row.key.clone(), row);
        }
        for key in &advance.deletes {
            rows.remove(key);
        }
        let parked = self.parked.entry((advance.view, advance.from.generation)).or_default();
        for Parked { position, error } in advance.parked.iter().cloned() {
            parked.insert(position, LeftOut { position, error, parked_at: Timestamp::UNIX_EPOCH });
        }
        Advanced::Yes
    }

    fn live(&self, view: View) -> impl Iterator<Item = &Row> {
        let generation = self.projections.get(&view).map(|known| known.live.generation);
        generation
            .and_then(|generation| self.rows.get(&(view, generation)))
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    fn list(&self, query: &RowQuery) -> RowPage {
        let mut rows: Vec<&Row> = self.live(query.view).filter(|row| admits(query, row)).collect();
        if query.view.order() == Order::NewestFirst {
            rows.sort_by(|a, b| (b.indexed.at, &b.key).cmp(&(a.indexed.at, &a.key)));
        }
        let position = self.projections.get(&query.view).map_or(Position(0), |known| known.live.position);
        RowPage { rows: rows.into_iter().take(query.limit).cloned().collect(), position }
    }
}

fn begin(generation: Generation) -> Progress {
    Progress { generation, position: Position(0), last_event: None }
}

fn admits(query: &RowQuery, row: &Row) -> bool {
    let has = |(tag, value): &(&'static str, String)| {
        let place = query.view.tags().iter().position(|known| known.name == *tag);
        place.and_then(|place| row.indexed.tags[place].as_ref()) == Some(value)
    };
    let beyond = query.after.as_ref().is_none_or(|after| match query.view.order() {
        Order::ByKey => row.key > after.key,
        Order::NewestFirst => (row.indexed.at, &row.key) < (after.at, &after.key),
    });
    query.tags.iter().all(has)
        && query.from.is_none_or(|from| row.indexed.at >= from)
        && query.to.is_none_or(|to| row.indexed.at < to)
        && beyond
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl ReadModels for MemoryReadModels {
    fn open(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        let mut state = self.state();
        let known = *state.open(view, shape);
        ready(state.counted(known))
    }

    fn projections(&self) -> BoxFuture<'_, Result<Vec<Projected>, StoreError>> {
        let state = self.state();
        let mut known: Vec<Projected> =
            state.projections.values().map(|known| state.counted(*known)).collect();
        drop(state);
        known.sort_by_key(|projected| projected.view.as_str());
        ready(known)
    }

    fn load<'a>(
        &'a self,
        view: View,
        generation: Generation,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let state = self.state();
        let rows = state.rows.get(&(view, generation));
        ready(
            rows.map(|rows| keys.iter().filter_map(|key| rows.get(key)).cloned().collect())
                .unwrap_or_default(),
        )
    }

    fn advance<'a>(&'a self, advance: &'a Advance) -> BoxFuture<'a, Result<Advanced, StoreError>> {
        ready(self.state().advance(advance))
    }

    fn begin_rebuild(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        let mut state = self.state();
        state.open(view, shape);
        let next = state.next(view);
        let known = state.open(view, shape);
        if known.building.is_none_or(|(_, being_built)| being_built != shape) {
            known.building = Some((begin(next), shape));
        }
        let known = *known;
        ready(state.counted(known))
    }

    fn reset(&self, view: View, shape: u32) -> BoxFuture<'_, Result<Projected, StoreError>> {
        let mut state = self.state();
        state.open(view, shape);
        let anew = Projected { view, shape, live: begin(state.next(view)), building: None, parked: 0 };
        state.projections.insert(view, anew);
        ready(anew)
    }

    fn swap(&self, view: View, generation: Generation) -> BoxFuture<'_, Result<Advanced, StoreError>> {
        let mut state = self.state();
        let known = state.projections.get_mut(&view);
        let built = known.and_then(|known| {
            let (building, shape) = known.building?;
            let done = building.generation == generation && building.position >= known.live.position;
            done.then(|| *known = Projected { view, shape, live: building, building: None, parked: 0 })
        });
        ready(if built.is_some() { Advanced::Yes } else { Advanced::Superseded })
    }

    fn sweep(&self, view: View, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        let mut state = self.state();
        let known = state.projections.get(&view).copied();
        let kept = |generation: Generation| {
            known.is_some_and(|known| {
                known.live.generation == generation
                    || known.building.is_some_and(|(building, _)| building.generation == generation)
            })
        };
        let mut removed = 0;
        for (_, rows) in
            state.rows.iter_mut().filter(|((of, generation), _)| *of == view && !kept(*generation))
        {
            while removed < limit && rows.pop_first().is_some() {
                removed += 1;
            }
        }
        for (_, parked) in
            state.parked.iter_mut().filter(|((of, generation), _)| *of == view && !kept(*generation))
        {
            while removed < limit && parked.pop_first().is_some() {
                removed += 1;
            }
        }
        ready(removed)
    }

    fn parked(
        &self,
        view: View,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LeftOut>, StoreError>> {
        let state = self.state();
        let live = state.projections.get(&view).map(|known| (view, known.live.generation));
        let parked = live.and_then(|live| state.parked.get(&live)).into_iter().flatten();
        let beyond = parked.filter(|(position, _)| **position > after);
        ready(beyond.take(limit).map(|(_, event)| event.clone()).collect())
    }

    fn list<'a>(&'a self, query: &'a RowQuery) -> BoxFuture<'a, Result<RowPage, StoreError>> {
        ready(self.state().list(query))
    }

    fn find<'a>(&'a self, view: View, key: &'a str) -> BoxFuture<'a, Result<Option<Row>, StoreError>> {
        let found = self.state().live(view).find(|row| row.key == key).cloned();
        ready(found)
    }
}
