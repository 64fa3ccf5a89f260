//! One supervised actor for each durable subscription: it fails when its worker does, and lets the worker come to its
//! end when it is stopped. Never in here: what the worker does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use dashmap::DashMap;
use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::handler::Handler;
use super::replay::{Replay, ReplayError, Replayed};
use super::worker::Worker;
use crate::domain::ids::{Name, Position};
use crate::limits::{REPLAY_REQUESTS, REPLAY_TIMEOUT};
use crate::ports::event_store::StoreError;
use crate::ports::{BoxFuture, EventStore, SubscriptionStore};
use crate::runtime::inspect::Probe;
use crate::runtime::supervisor::{Child, SupervisorHandle};

/// The durable subscriptions of a node.
pub struct Subscriptions {
    /// Where their places are kept.
    pub store: Arc<dyn SubscriptionStore>,
    events: Arc<dyn EventStore>,
    owner: String,
    superseded: CancellationToken,
    requests: DashMap<Name, mpsc::Sender<Replay>>,
}

impl Subscriptions {
    /// None yet; the node `owner` handles their events until it is superseded.
    #[must_use]
    pub fn new(
        owner: &str,
        events: Arc<dyn EventStore>,
        store: Arc<dyn SubscriptionStore>,
        superseded: CancellationToken,
    ) -> Self {
        Self { store, events, owner: owner.to_owned(), superseded, requests: DashMap::new() }
    }

    /// Starts to handle events, below `supervisor`.
    pub async fn start(self: &Arc<Self>, supervisor: &SupervisorHandle, handler: Arc<dyn Handler>) {
        let probe = supervisor.probe(&format!("subscription-{}", handler.name()), "subscription");
        let (this, shared) = (Arc::clone(self), Arc::clone(&probe));
        let spawn = Arc::new(move |supervisor| {
            let actor = SubscriptionActor {
                subscriptions: Arc::clone(&this),
                handler: Arc::clone(&handler),
                probe: Arc::clone(&shared),
            };
            let spawned: BoxFuture<'static, _> = Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                Ok(actor.get_cell())
            });
            spawned
        });
        supervisor.start(Child { probe, spawn }).await;
    }

    /// Handles parked events again: one, or all.
    ///
    /// # Errors
    /// When the subscription is not handled here, or not now.
    pub async fn replay(&self, name: &Name, position: Option<Position>) -> Result<Replayed, ReplayError> {
        let requests = self.requests.get(name).map(|requests| requests.clone());
        let (reply, replayed) = oneshot::channel();
        requests
            .ok_or(ReplayError::NoHandler)?
            .try_send(Replay { position, reply })
            .map_err(|_| ReplayError::Away)?;
        let answer = tokio::time::timeout(REPLAY_TIMEOUT, replayed).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(ReplayError::Away))
    }
}

struct SubscriptionActor {
    subscriptions: Arc<Subscriptions>,
    handler: Arc<dyn Handler>,
    probe: Arc<Probe>,
}

/// The worker has ended by itself.
struct Ended(Result<(), StoreError>);

struct Working {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Drop for Working {
    fn drop(&mut self) {
        // only a killed actor still has it
        self.task.iter().for_each(JoinHandle::abort);
    }
}

impl Actor for SubscriptionActor {
    type Msg = Ended;
    type State = Working;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Ended>, (): ()) -> Result<Working, ActorProcessingErr> {
        let all = &self.subscriptions;
        let stop = CancellationToken::new();
        let worker = Worker {
            events: Arc::clone(&all.events),
            store: Arc::clone(&all.store),
            handler: Arc::clone(&self.handler),
            name: self.handler.name(),
            owner: all.owner.clone(),
            probe: Arc::clone(&self.probe),
            stop: stop.clone(),
            superseded: all.superseded.clone(),
        };
        let (sender, requests) = mpsc::channel(REPLAY_REQUESTS);
        all.requests.insert(self.handler.name(), sender);
        let task = tokio::spawn(async move {
            let ended = AssertUnwindSafe(worker.run(requests)).catch_unwind().await;
            let ended = ended.unwrap_or_else(|_| {
                Err(StoreError::Failed { operation: "handle events", source: "the worker panicked".into() })
            });
            myself.cast(Ended(ended)).unwrap_or_default();
        });
        Ok(Working { stop, task: Some(task) })
    }

    async fn handle(
        &self,
        myself: ActorRef<Ended>,
        Ended(ended): Ended,
        _: &mut Working,
    ) -> Result<(), ActorProcessingErr> {
        ended.map_err(|error| {
            let error = &error as &(dyn std::error::Error + Send + Sync);
            tracing::error!(error, subscription = %self.handler.name(), "a subscription cannot go on");
            ActorProcessingErr::from(error.to_string())
        })?;
        myself.stop(None);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Ended>, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.stop.cancel();
        if let Some(task) = working.task.as_mut() {
            task.await.unwrap_or_default();
        }
        working.task = None;
        Ok(())
    }
}
