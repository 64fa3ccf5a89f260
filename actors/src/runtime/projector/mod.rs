//! Projectors: one supervised actor for each read model. It reads the log a page at a time, folds the page and stores
//! what changed together with the position; beside that it fills a generation that is being rebuilt, and takes away
//! what was replaced. It keeps nothing that is not in the store, so one that dies is simply started again.
//!
//! Of several nodes one projects ([`PROJECTIONS`](super::cluster::PROJECTIONS)); the others look how far it has come. Two that
//! take themselves for that one harm nothing: whoever stores a page first advances.

mod actor;
mod lane;
mod pages;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::actor::Projector;
pub use self::lane::Lane;
use self::pages::Pages;
use super::cluster::Singleton;
use super::supervisor::{Child, SupervisorHandle};
use crate::domain::ids::Position;
use crate::domain::projection::{Audit, Executions, Metrics, Pipelines, Plugins, Projection, View};
use crate::ports::event_store::StoreError;
use crate::ports::read_models::Projected;
use crate::ports::{BoxFuture, EventStore, ReadModels};

/// The read models of a node, and how far its projectors have come.
pub struct Projections {
    /// Where the rows are kept.
    pub models: Arc<dyn ReadModels>,
    lanes: Vec<Arc<Lane>>,
    pages: Arc<Pages>,
}

/// What projectors work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) models: Arc<dyn ReadModels>,
    /// Whether this node projects.
    pub(super) singleton: Singleton,
    /// The node ends.
    pub(super) ending: CancellationToken,
}

impl Projections {
    /// Starts a projector for every view below `supervisor`.
    pub(super) async fn start(parts: Parts, supervisor: &SupervisorHandle) -> Self {
        let pages = Arc::new(Pages::new(Arc::clone(&parts.store)));
        let mut lanes = Vec::new();
        lanes.push(start::<Pipelines>(&parts, &pages, supervisor).await);
        lanes.push(start::<Plugins>(&parts, &pages, supervisor).await);
        lanes.push(start::<Executions>(&parts, &pages, supervisor).await);
        lanes.push(start::<Metrics>(&parts, &pages, supervisor).await);
        lanes.push(start::<Audit>(&parts, &pages, supervisor).await);
        Self { models: parts.models, lanes, pages }
    }

    /// How far a view has come on this node.
    ///
    /// # Panics
    /// Never: every view has its lane.
    #[must_use]
    pub fn lane(&self, view: View) -> &Arc<Lane> {
        self.lanes.iter().find(|lane| lane.view() == view).expect("every view has a projector")
    }

    /// All of them, in the order of [`View::ALL`].
    #[must_use]
    pub fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// Waits until the live rows of a view reflect a position; false when they do not within `patience`.
    pub async fn reach(&self, view: View, wanted: Position, patience: Duration) -> bool {
        let lane = self.lane(view);
        if lane.position() < wanted {
            self.pages.hurry();
        }
        lane.reach(wanted, patience).await
    }

    /// Begins to build a view anew beside the live one; one that is being built goes on.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn rebuild(&self, view: View) -> Result<Projected, StoreError> {
        let lane = self.lane(view);
        let begun = self.models.begin_rebuild(view, lane.shape()).await?;
        lane.change();
        Ok(begun)
    }
}

async fn start<P: Projection>(parts: &Parts, pages: &Arc<Pages>, supervisor: &SupervisorHandle) -> Arc<Lane> {
    let lane = Arc::new(Lane::new(P::VIEW, P::SHAPE));
    let probe = supervisor.probe(&format!("projector-{}", P::VIEW.as_str()), "projector");
    let (parts, pages, shown, shared) =
        (parts.clone(), Arc::clone(pages), Arc::clone(&lane), Arc::clone(&probe));
    let spawn = Arc::new(move |supervisor| {
        let projector =
            Projector::<P>::new(parts.clone(), Arc::clone(&pages), Arc::clone(&shown), Arc::clone(&shared));
        let spawned: BoxFuture<'static, _> = Box::pin(projector.spawn(supervisor));
        spawned
    });
    supervisor.start(Child { probe, spawn }).await;
    lane
}
