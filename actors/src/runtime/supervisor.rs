//! The supervisor: starts children, starts failed ones again with a growing pause, quarantines those that fail too
//! often, and fails itself only when so many children do that the cause is not theirs.
//!
//! It never awaits a child inside its handler: a respawn is a message that a timer sends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::inspect::{Inspector, Life, Probe};
use super::restart::{Escalation, RestartWindow, Verdict};
use crate::ports::{BoxFuture, IdSource};

/// How a child is spawned, first and again.
pub type Spawn = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// How long to wait for the end of a child that was killed; it ends where it awaits next.
const KILL: Duration = Duration::from_secs(1);

/// A child to be supervised.
pub struct Child {
    /// What can be seen of it; its serial is its key.
    pub probe: Arc<Probe>,
    /// How it is spawned.
    pub spawn: Spawn,
}

/// What a supervisor can be told.
pub enum SupervisorMsg {
    /// Start a child; a known key is left as it is.
    Start(Child, Option<oneshot::Sender<()>>),
    /// Start a child again, if it still waits for it.
    Respawn(u64),
    /// An operator ended a child's quarantine.
    Release(String, oneshot::Sender<bool>),
    /// End all children, those that take longer by force, then this supervisor.
    Drain(Duration, oneshot::Sender<()>),
}

/// Starts and watches the actors of one kind.
#[derive(Clone)]
pub struct SupervisorHandle {
    actor: ActorRef<SupervisorMsg>,
    id: Arc<str>,
    inspector: Inspector,
    ended: CancellationToken,
}

impl SupervisorHandle {
    /// Spawns a supervisor, supervised by `parent` when there is one.
    ///
    /// # Errors
    /// When the actor system refuses.
    pub async fn spawn(
        id: &str,
        inspector: Inspector,
        ids: Arc<dyn IdSource>,
        parent: Option<&Self>,
    ) -> Result<Self, SpawnErr> {
        let probe = inspector.register(id, "supervisor", parent.map(|p| &*p.id));
        let actor = Supervisor { inspector: inspector.clone(), ids };
        let (actor, task) = match parent {
            Some(parent) => {
                Actor::spawn_linked(None, actor, Arc::clone(&probe), parent.actor.get_cell()).await?
            }
            None => Actor::spawn(None, actor, Arc::clone(&probe)).await?,
        };
        probe.set_life(Life::Running);
        let ended = CancellationToken::new();
        let tell = ended.clone().drop_guard();
        tokio::spawn(async move {
            task.await.unwrap_or_default();
            drop(tell);
        });
        Ok(Self { actor, id: id.into(), inspector, ended })
    }

    /// Registers a child's probe below this supervisor.
    #[must_use]
    pub fn probe(&self, id: &str, kind: &'static str) -> Arc<Probe> {
        self.inspector.register(id, kind, Some(&self.id))
    }

    /// Returns when the supervisor has ended: it was drained, or it gave up.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Starts a child and waits until it was spawned once (whether or not it then lives).
    pub async fn start(&self, child: Child) {
        let (reply, started) = oneshot::channel();
        if self.actor.cast(SupervisorMsg::Start(child, Some(reply))).is_ok() {
            started.await.unwrap_or_default();
        }
    }

    /// Ends a child's quarantine; false when it is not quarantined.
    pub async fn release(&self, id: &str) -> bool {
        let (reply, released) = oneshot::channel();
        self.actor.cast(SupervisorMsg::Release(id.to_owned(), reply)).is_ok()
            && released.await.unwrap_or_default()
    }

    /// Ends all children after the messages they already have, then the supervisor. A child that takes longer than
    /// `patience` is killed in the middle of what it does.
    pub async fn drain(&self, patience: Duration) {
        let (reply, drained) = oneshot::channel();
        if self.actor.cast(SupervisorMsg::Drain(patience, reply)).is_ok() {
            drained.await.unwrap_or_default();
        }
    }
}

struct Supervisor {
    inspector: Inspector,
    ids: Arc<dyn IdSource>,
}

struct Supervised {
    child: Child,
    cell: Option<ActorCell>,
    window: RestartWindow,
}

struct State {
    probe: Arc<Probe>,
    children: HashMap<u64, Supervised>,
    by_actor: HashMap<ActorId, u64>,
    escalation: Escalation,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = State;
    type Arguments = Arc<Probe>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        probe: Arc<Probe>,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            probe,
            children: HashMap::new(),
            by_actor: HashMap::new(),
            escalation: Escalation::default(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SupervisorMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let probe = Arc::clone(&state.probe);
        probe.enqueued();
        let _busy = probe.busy();
        match message {
            SupervisorMsg::Start(child, reply) => {
                let key = child.probe.serial();
                if let Entry::Vacant(place) = state.children.entry(key) {
                    place.insert(Supervised { child, cell: None, window: RestartWindow::default() });
                    self.spawn(&myself, state, key).await?;
                }
                reply.map(|reply| reply.send(()));
            }
            SupervisorMsg::Respawn(key) => {
                let waits = state.children.get(&key).is_some_and(|c| c.cell.is_none());
                if waits {
                    self.spawn(&myself, state, key).await?;
                }
            }
            SupervisorMsg::Release(id, reply) => {
                let quarantined = |c: &&mut Supervised| {
                    c.child.probe.id() == id && c.child.probe.life() == Life::Quarantined
                };
                let child = state.children.values_mut().find(quarantined);
                let key = child.map(|c| {
                    c.window.forgive();
                    c.child.probe.serial()
                });
                let released = key.is_some();
                if let Some(key) = key {
                    self.spawn(&myself, state, key).await?;
                }
                reply.send(released).unwrap_or_default();
            }
            SupervisorMsg::Drain(patience, reply) => {
                let cells = state.children.values().filter_map(|c| c.cell.clone());
                futures::future::join_all(cells.map(|cell| end(cell, patience))).await;
                state.probe.set_life(Life::Stopped);
                reply.send(()).unwrap_or_default();
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                self.failed(&myself, state, &actor, &error.to_string())
            }
            // a killed actor arrives as terminated, with this reason
            SupervisionEvent::ActorTerminated(actor, _, Some(reason)) if reason == "killed" => {
                self.failed(&myself, state, &actor, &reason)
            }
            SupervisionEvent::ActorTerminated(actor, ..) => {
                if let Some(key) = state.by_actor.remove(&actor.get_id()) {
                    self.forget(state, key);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Supervisor {
    async fn spawn(
        &self,
        myself: &ActorRef<SupervisorMsg>,
        state: &mut State,
        key: u64,
    ) -> Result<(), ActorProcessingErr> {
        let Some(child) = state.children.get_mut(&key) else { return Ok(()) };
        if child.child.probe.last_error().is_some() {
            self.inspector.count_restart(&child.child.probe);
        }
        match (child.child.spawn)(myself.get_cell()).await {
            Ok(cell) => {
                child.child.probe.set_life(Life::Running);
                state.by_actor.insert(cell.get_id(), key);
                child.cell = Some(cell);
                Ok(())
            }
            Err(error) => self.count_failure(myself, state, key, &error.to_string()),
        }
    }

    fn failed(
        &self,
        myself: &ActorRef<SupervisorMsg>,
        state: &mut State,
        actor: &ActorCell,
        error: &str,
    ) -> Result<(), ActorProcessingErr> {
        match state.by_actor.remove(&actor.get_id()) {
            Some(key) => self.count_failure(myself, state, key, error),
            // a supervisor below this one gave up: so does this one
            None => Err(error.to_owned().into()),
        }
    }

    fn count_failure(
        &self,
        myself: &ActorRef<SupervisorMsg>,
        state: &mut State,
        key: u64,
        error: &str,
    ) -> Result<(), ActorProcessingErr> {
        let (now, children) = (Instant::now(), state.children.len());
        let Some(child) = state.children.get_mut(&key) else { return Ok(()) };
        child.cell = None;
        child.child.probe.failed(error);
        match child.window.failed(now, self.ids.fraction()) {
            Verdict::Restart(pause) => {
                tracing::warn!(
                    actor = child.child.probe.id(),
                    error,
                    ?pause,
                    "actor failed and is started again"
                );
                child.child.probe.set_life(Life::BackingOff);
                myself.send_after(pause, move || SupervisorMsg::Respawn(key));
            }
            Verdict::Quarantine => {
                tracing::error!(
                    actor = child.child.probe.id(),
                    error,
                    "actor failed too often and is quarantined"
                );
                child.child.probe.set_life(Life::Quarantined);
            }
        }
        if state.escalation.failed(now, key, children) {
            return Err(format!("too many children failed, the last with: {error}").into());
        }
        Ok(())
    }

    fn forget(&self, state: &mut State, key: u64) {
        if let Some(child) = state.children.remove(&key) {
            child.child.probe.set_life(Life::Stopped);
            self.inspector.forget(&child.child.probe);
        }
    }
}

/// Ends an actor after its messages; kills it when that takes longer than `patience`.
async fn end(cell: ActorCell, patience: Duration) {
    if cell.drain_and_wait(Some(patience)).await.is_err() {
        // an error says that it has already ended, or that it blocks its thread and cannot be waited for
        cell.kill_and_wait(Some(KILL)).await.unwrap_or_default();
    }
}
