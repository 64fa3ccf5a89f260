//! How far one projection has come on this node, to be looked at and waited for without asking its projector.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::domain::ids::Position;
use crate::domain::projection::View;
use crate::ports::read_models::Projected;

/// What can be seen of a projection.
#[derive(Debug)]
pub struct Lane {
    view: View,
    shape: u32,
    position: watch::Sender<Position>,
    /// When the last event was recorded that the live rows reflect; microseconds since 1970.
    reflects: AtomicU64,
    generation: AtomicU32,
    /// Position of what is being built, plus one; 0 is nothing.
    building: AtomicU64,
    /// The store holds rows of another shape: they stand still until they are rebuilt.
    frozen: AtomicBool,
    events: AtomicU64,
    parked: AtomicU64,
    /// Someone changed what the store says of the projection.
    changed: AtomicBool,
    /// How many wait for a position.
    awaited: watch::Sender<usize>,
    wake: Notify,
}

impl Lane {
    pub(super) fn new(view: View, shape: u32) -> Self {
        Self {
            view,
            shape,
            position: watch::Sender::new(Position(0)),
            reflects: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            building: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            events: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            awaited: watch::Sender::new(0),
            wake: Notify::new(),
        }
    }

    /// The view.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// The shape of rows that this program writes.
    #[must_use]
    pub const fn shape(&self) -> u32 {
        self.shape
    }

    /// The position that the live rows reflect at least.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// The generation that lists show.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// The position of the generation that is being built.
    #[must_use]
    pub fn building(&self) -> Option<Position> {
        self.building.load(Relaxed).checked_sub(1).map(Position)
    }

    /// Whether the live rows stand still because they have another shape than this program writes.
    #[must_use]
    pub fn frozen(&self) -> bool {
        self.frozen.load(Relaxed)
    }

    /// Events folded since the node started, those that changed nothing included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Events that are left out of the live rows.
    #[must_use]
    pub fn parked(&self) -> u64 {
        self.parked.load(Relaxed)
    }

    /// How long ago the last event was recorded that the live rows reflect, while there are later ones.
    #[must_use]
    pub fn lag(&self, head: Position, now: Timestamp) -> Duration {
        let reflects = i64::try_from(self.reflects.load(Relaxed)).ok().filter(|&micros| micros > 0);
        let reflects = reflects.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        match reflects {
            Some(reflects) if self.position() < head => {
                now.duration_since(reflects).try_into().unwrap_or_default()
            }
            _ => Duration::ZERO,
        }
    }

    pub(super) async fn reach(&self, wanted: Position, patience: Duration) -> bool {
        if self.position() >= wanted {
            return true;
        }
        let mut position = self.position.subscribe();
        let _awaited = Awaited::new(self);
        let reached = position.wait_for(|position| *position >= wanted);
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }

    /// Makes the projector ask the store again.
    pub(super) fn change(&self) {
        self.changed.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// Whether it has to, once.
    pub(super) fn take_change(&self) -> bool {
        self.changed.swap(false, Relaxed)
    }

    /// Whether somebody waits for a position.
    pub(super) fn is_awaited(&self) -> bool {
        *self.awaited.borrow() > 0
    }

    /// Returns when somebody does.
    pub(super) async fn awaited(&self) {
        let mut awaited = self.awaited.subscribe();
        // its end would be the lane's
        awaited.wait_for(|waiting| *waiting > 0).await.map(drop).unwrap_or_default();
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Shows what the store says of the projection.
    pub(super) fn show(&self, known: &Projected) {
        self.generation.store(known.live.generation.0, Relaxed);
        self.building.store(known.building.map_or(0, |(building, _)| building.position.0 + 1), Relaxed);
        self.frozen.store(known.shape != self.shape, Relaxed);
        self.parked.store(known.parked, Relaxed);
        self.position.send_if_modified(|position| {
            let changed = *position != known.live.position;
            *position = known.live.position;
            changed
        });
    }

    /// The live rows came as far as an event that was recorded at this time.
    pub(super) fn reflects(&self, recorded_at: Timestamp) {
        self.reflects.store(recorded_at.as_microsecond().unsigned_abs(), Relaxed);
    }

    pub(super) fn folded(&self, events: usize) {
        self.events.fetch_add(events as u64, Relaxed);
    }
}

/// Somebody waits for a position, for as long as this lives.
struct Awaited<'a>(&'a Lane);

impl<'a> Awaited<'a> {
    fn new(lane: &'a Lane) -> Self {
        lane.awaited.send_modify(|waiting| *waiting += 1);
        Self(lane)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.awaited.send_modify(|waiting| *waiting -= 1);
    }
}
