//! The actor of one projection: a step at a time, each a message to itself, so that it can be ended in between.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

use super::Parts;
use super::lane::Lane;
use super::pages::Pages;
use crate::domain::event::RecordedEvent;
use crate::domain::ids::Position;
use crate::domain::projection::{Parked, Projection, fold, keys};
use crate::limits::{
    PROJECTION_AWAITED, PROJECTION_FOLLOW, PROJECTION_PAUSE, PROJECTION_POLL, REBUILD_SLICE, SWEEP_ROWS,
};
use crate::ports::event_store::{EventFilter, StoreError};
use crate::ports::read_models::{Advance, Advanced, Progress, Projected};

use super::super::inspect::Probe;

/// What a projector is told: to go on.
pub(super) struct GoOn;

/// Fills the rows of one view.
pub(super) struct Projector<P> {
    parts: Parts,
    pages: Arc<Pages>,
    lane: Arc<Lane>,
    probe: Arc<Probe>,
    projection: PhantomData<fn() -> P>,
}

/// What the projector knows; all of it is in the store too.
#[derive(Default)]
pub(super) struct State {
    /// As the store said last; `None` asks it again.
    known: Option<Projected>,
    /// Whether there may be rows of replaced generations.
    leftovers: bool,
}

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    AtOnce,
    Wait,
}

/// Why a step ended early.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] crate::domain::projection::Unreadable),
}

impl<P: Projection> Projector<P> {
    pub(super) fn new(parts: Parts, pages: Arc<Pages>, lane: Arc<Lane>, probe: Arc<Probe>) -> Self {
        Self { parts, pages, lane, probe, projection: PhantomData }
    }

    pub(super) async fn spawn(self, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
        let probe = Arc::clone(&self.probe);
        let (actor, _) = Actor::spawn_linked(None, self, (), supervisor).await?;
        probe.enqueued();
        actor.cast(GoOn).unwrap_or_default();
        Ok(actor.get_cell())
    }

    /// One step: a page of the live rows, a while of what is being built, a chunk of what was replaced.
    async fn step(&self, state: &mut State) -> Result<Next, StepError> {
        // whatever ends the step early, the store is asked again
        let here = self.parts.singleton.is_here();
        let mut known = match state.known.take().filter(|_| here && !self.lane.take_change()) {
            Some(known) => known,
            None if here => self.look().await?,
            None => self.parts.models.open(P::VIEW, P::SHAPE).await?,
        };
        if !here && !outgrown::<P>(&known) {
            self.follow(&known).await?;
            return Ok(Next::Wait);
        }
        let mut next = Next::Wait;
        if known.shape == P::SHAPE {
            let page = self.pages.after(known.live.position).await?;
            if let Some(last) = page.events().last() {
                let Some((moved, parked)) = self.store_page(page.events(), known.live).await? else {
                    return Ok(Next::AtOnce);
                };
                known.live = moved;
                known.parked += parked;
                self.lane.reflects(last.recorded_at);
            }
        }
        if let Some((building, _)) = known.building.filter(|(_, shape)| *shape == P::SHAPE) {
            let Some(rebuilt) = self.build(building).await? else { return Ok(Next::AtOnce) };
            known.building = Some((rebuilt, P::SHAPE));
            next = Next::AtOnce;
            if rebuilt.position >= known.live.position && self.swap(&known).await? {
                state.leftovers = true;
                return Ok(Next::AtOnce);
            }
        }
        if state.leftovers {
            state.leftovers = self.parts.models.sweep(P::VIEW, SWEEP_ROWS).await? == SWEEP_ROWS;
            next = if state.leftovers { Next::AtOnce } else { next };
        }
        self.lane.show(&known);
        state.known = Some(known);
        Ok(next)
    }

    /// Shows how far the node that projects has come.
    async fn follow(&self, known: &Projected) -> Result<(), StoreError> {
        if known.live.position > self.lane.position()
            && let Some(last) = self.event_at(known.live.position).await?
        {
            self.lane.reflects(last.recorded_at);
        }
        self.lane.show(known);
        Ok(())
    }

    /// What the store says, after it was made fit for this program: rows of another history are begun anew, rows of
    /// an earlier shape are rebuilt beside.
    async fn look(&self) -> Result<Projected, StepError> {
        let models = &self.parts.models;
        let mut known = models.open(P::VIEW, P::SHAPE).await?;
        let building = known.building.map(|(building, _)| building);
        for progress in [Some(known.live), building].into_iter().flatten() {
            if !self.of_this_history(progress).await? {
                tracing::warn!(
                    projection = P::VIEW.as_str(),
                    position = progress.position.0,
                    "the read model was made from other events and is begun anew"
                );
                known = models.reset(P::VIEW, P::SHAPE).await?;
                break;
            }
        }
        let built_for = known.building.map(|(_, shape)| shape);
        if known.shape < P::SHAPE && built_for.is_none_or(|shape| shape < P::SHAPE) {
            tracing::info!(
                projection = P::VIEW.as_str(),
                from = known.shape,
                to = P::SHAPE,
                "the read model is rebuilt in its new shape"
            );
            known = models.begin_rebuild(P::VIEW, P::SHAPE).await?;
        }
        self.lane.show(&known);
        Ok(known)
    }

    /// Whether the log still holds the event that the rows ended with: a store that was restored from a copy does not.
    async fn of_this_history(&self, progress: Progress) -> Result<bool, StoreError> {
        let Some(last_event) = progress.last_event else { return Ok(true) };
        Ok(self.event_at(progress.position).await?.is_some_and(|event| event.id == last_event))
    }

    async fn event_at(&self, position: Position) -> Result<Option<RecordedEvent>, StoreError> {
        let before = Position(position.0.saturating_sub(1));
        Ok(self.parts.store.read_all(before, 1, &EventFilter::default()).await?.pop())
    }

    /// Builds on for a while; `None` when another projector was faster.
    async fn build(&self, from: Progress) -> Result<Option<Progress>, StepError> {
        let (mut at, began) = (from, Instant::now());
        while began.elapsed() < REBUILD_SLICE && !self.parts.ending.is_cancelled() {
            let events = self.pages.read(at.position).await?;
            if events.is_empty() {
                break;
            }
            match self.store_page(&events, at).await? {
                Some((moved, _)) => at = moved,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Folds a page into the rows of a generation; tells how many events it had to leave out. `None` when another
    /// projector was faster.
    async fn store_page(
        &self,
        events: &[RecordedEvent],
        from: Progress,
    ) -> Result<Option<(Progress, u64)>, StepError> {
        let Some(last) = events.last() else { return Ok(Some((from, 0))) };
        let (position, last_event) = (last.position, last.id);
        let keys = keys::<P>(events);
        let stored = match keys.is_empty() {
            true => Vec::new(),
            false => self.parts.models.load(P::VIEW, from.generation, &keys).await?,
        };
        let changes = fold::<P>(events, &stored)?;
        let advance = Advance {
            view: P::VIEW,
            from,
            position,
            last_event,
            upserts: changes.upserts,
            deletes: changes.deletes,
            parked: changes.parked,
        };
        match self.parts.models.advance(&advance).await? {
            Advanced::Yes => {
                advance.parked.iter().for_each(warn_of::<P>);
                self.lane.folded(events.len());
                let moved = Progress { generation: from.generation, position, last_event: Some(last_event) };
                Ok(Some((moved, advance.parked.len() as u64)))
            }
            Advanced::Superseded => Ok(None),
        }
    }

    /// Lets what was built replace the live rows.
    async fn swap(&self, known: &Projected) -> Result<bool, StepError> {
        let Some((building, _)) = known.building else { return Ok(false) };
        let swapped = self.parts.models.swap(P::VIEW, building.generation).await? == Advanced::Yes;
        if swapped {
            tracing::info!(
                projection = P::VIEW.as_str(),
                position = building.position.0,
                "the read model was replaced by the one rebuilt"
            );
        }
        Ok(swapped)
    }

    /// Waits until there may be something to do, or the end.
    async fn wait(&self, state: &mut State) {
        if !self.parts.singleton.is_here() {
            state.known = None;
            return self.wait_beside().await;
        }
        // rows that stand still, because a newer program's take their place, wait for no events
        let after = if self.lane.frozen() { Position(u64::MAX) } else { self.lane.position() };
        let mut head = self.parts.store.head_changes();
        let news = async {
            // the store's word of the head never fails while the store is there
            head.wait_for(|head| *head > after).await.map(drop).unwrap_or_default();
            self.pages.rest(after).await;
        };
        tokio::select! {
            () = news => {}
            () = self.lane.woken() => {}
            () = self.parts.singleton.moved() => {}
            () = self.parts.ending.cancelled() => {}
            // another node's projector may have moved on, and an operator may have asked it for a rebuild
            () = tokio::time::sleep(PROJECTION_POLL) => state.known = None,
        }
    }

    /// Waits while another node projects: until this one does, or it is time to see how far that one has come.
    async fn wait_beside(&self) {
        let look = async {
            if self.lane.is_awaited() {
                tokio::time::sleep(PROJECTION_AWAITED).await;
            } else {
                tokio::time::timeout(PROJECTION_FOLLOW, self.lane.awaited()).await.unwrap_or_default();
            }
        };
        tokio::select! {
            () = self.lane.woken() => {}
            () = self.parts.singleton.moved() => {}
            () = self.parts.ending.cancelled() => {}
            () = look => {}
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.parts.ending.cancelled() => {}
        }
    }

    /// What cannot be read is rebuilt; an outage is waited out here: it is not the actor's failure. Anything else is.
    async fn recover(&self, error: StepError) -> Result<(), ActorProcessingErr> {
        match &error {
            StepError::Store(store) if store.retryable() => {
                tracing::warn!(
                    projection = P::VIEW.as_str(),
                    error = &error as &dyn std::error::Error,
                    "a projection waits for its store"
                );
                self.pause(PROJECTION_PAUSE).await;
                Ok(())
            }
            StepError::Unreadable(unreadable) => {
                tracing::error!(
                    error = unreadable as &dyn std::error::Error,
                    "a read model that cannot be read is begun anew"
                );
                self.parts.models.reset(P::VIEW, P::SHAPE).await?;
                Ok(())
            }
            StepError::Store(_) => Err(error.into()),
        }
    }
}

/// Whether a newer program's rows are taking the place of this one's. The node that projects is of that program and folds
/// into those alone; so that lists do not stand still meanwhile, nodes of this program go on with the live ones.
fn outgrown<P: Projection>(known: &Projected) -> bool {
    known.shape == P::SHAPE && known.building.is_some_and(|(_, shape)| shape > P::SHAPE)
}

/// It stays in the log, and is folded again by the next rebuild.
fn warn_of<P: Projection>(Parked { position, error }: &Parked) {
    tracing::error!(
        projection = P::VIEW.as_str(),
        position = position.0,
        error,
        "an event cannot be projected and is left out"
    );
}

impl<P: Projection> Actor for Projector<P> {
    type Msg = GoOn;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<GoOn>, (): ()) -> Result<State, ActorProcessingErr> {
        Ok(State { known: None, leftovers: true })
    }

    async fn handle(
        &self,
        myself: ActorRef<GoOn>,
        GoOn: GoOn,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let stepped = {
            let _busy = self.probe.busy();
            self.step(state).await
        };
        match stepped {
            Ok(Next::AtOnce) => {}
            Ok(Next::Wait) => self.wait(state).await,
            Err(error) => self.recover(error).await?,
        }
        if !self.parts.ending.is_cancelled() {
            self.probe.enqueued();
            myself.cast(GoOn)?;
        }
        Ok(())
    }
}
