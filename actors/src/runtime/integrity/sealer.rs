//! The sealer: an actor that does a turn every second, and a last one when the node ends. What a turn is stands in
//! `turn.rs`. Of several nodes one seals ([`SEALER`](super::super::cluster::SEALER)); the others compare what it sealed with what they have seen, and copy its
//! checkpoints. A turn that fails is logged once and tried again; only a defect fails the actor.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::status::{SealerState, SealerStatus};
use super::turn::{Memory, TurnError, turn};
use crate::limits::SEAL_INTERVAL;
use crate::ports::{Clock, IntegrityStore, OutsideCheckpoints, Signer};
use crate::runtime::cluster::Singleton;
use crate::runtime::inspect::Probe;
use crate::runtime::supervisor::{Child, SupervisorHandle};

/// What sealing needs of the outside.
#[derive(Clone)]
pub struct IntegrityPorts {
    /// Where tiles and checkpoints are kept.
    pub store: Arc<dyn IntegrityStore>,
    /// Who signs.
    pub signer: Arc<dyn Signer>,
    /// Where copies of the checkpoints go.
    pub outside: Arc<dyn OutsideCheckpoints>,
}

/// The sealer, for those who look at it or end it.
#[derive(Clone)]
pub struct Sealer {
    ports: IntegrityPorts,
    status: Arc<SealerStatus>,
    slot: Arc<std::sync::RwLock<Option<ActorRef<SealMsg>>>>,
}

/// What the sealer can be told; made here alone.
pub struct SealMsg(Kind);

enum Kind {
    /// The second is over.
    Turn,
    /// The node ends: seal what is left.
    Finish,
}

impl Sealer {
    /// Starts the sealer below `supervisor`.
    pub async fn start(
        ports: IntegrityPorts,
        clock: Arc<dyn Clock>,
        singleton: Singleton,
        supervisor: &SupervisorHandle,
    ) -> Self {
        let sealer = Self { ports, status: Arc::default(), slot: Arc::default() };
        let probe = supervisor.probe("sealer", "sealer");
        let (this, shown) = (sealer.clone(), Arc::clone(&probe));
        let spawn = Arc::new(move |supervisor| {
            let this = this.clone();
            let actor = SealerActor {
                ports: this.ports.clone(),
                clock: Arc::clone(&clock),
                singleton: singleton.clone(),
                status: Arc::clone(&this.status),
                probe: Arc::clone(&shown),
            };
            let spawned: crate::ports::BoxFuture<'static, _> = Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, actor, (), supervisor).await?;
                let cell = actor.get_cell();
                *this.slot.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(actor);
                Ok(cell)
            });
            spawned
        });
        supervisor.start(Child { probe, spawn }).await;
        sealer
    }

    /// Asks for a last turn; it is done before the supervisor's end lets the actor go.
    pub fn finish(&self) {
        let actor = self.slot.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(actor) = actor {
            actor.cast(SealMsg(Kind::Finish)).unwrap_or_default();
        }
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self) -> &SealerStatus {
        &self.status
    }

    /// What it seals with.
    #[must_use]
    pub const fn ports(&self) -> &IntegrityPorts {
        &self.ports
    }
}

struct SealerActor {
    ports: IntegrityPorts,
    clock: Arc<dyn Clock>,
    singleton: Singleton,
    status: Arc<SealerStatus>,
    probe: Arc<Probe>,
}

impl Actor for SealerActor {
    type Msg = SealMsg;
    type State = Memory;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<SealMsg>, (): ()) -> Result<Memory, ActorProcessingErr> {
        myself.cast(SealMsg(Kind::Turn))?;
        Ok(Memory::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<SealMsg>,
        message: SealMsg,
        memory: &mut Memory,
    ) -> Result<(), ActorProcessingErr> {
        self.probe.enqueued();
        let _busy = self.probe.busy();
        match message.0 {
            Kind::Turn => {
                if self.turn(memory, self.singleton.is_here()).await {
                    myself.cast(SealMsg(Kind::Turn)).unwrap_or_default();
                } else {
                    myself.send_after(SEAL_INTERVAL, || SealMsg(Kind::Turn));
                }
            }
            // this node stores nothing any more, so this ends; its own last events are sealed, whoever seals from now on
            Kind::Finish => while self.turn(memory, true).await {},
        }
        Ok(())
    }
}

impl SealerActor {
    /// Does a turn and tells how it went; true when there is more to do at once.
    async fn turn(&self, memory: &mut Memory, seals: bool) -> bool {
        let (state, more) = match turn(&self.ports, &*self.clock, &self.status, memory, seals).await {
            Ok(more) => (SealerState::Sealing, more),
            Err(error) => {
                self.status.failures.fetch_add(1, Relaxed);
                let state = match &error {
                    TurnError::Alarm(why) => SealerState::Alarm(why.clone()),
                    other => SealerState::Failing(other.to_string()),
                };
                if self.status.state() != state {
                    tell(&error);
                }
                if matches!(state, SealerState::Alarm(_)) {
                    memory.distrust();
                }
                (state, false)
            }
        };
        let healthy = state == SealerState::Sealing;
        let before = self.status.set_state(state);
        if healthy && !matches!(before, SealerState::Sealing | SealerState::Starting) {
            tracing::info!("the log is sealed again");
        }
        more
    }
}

fn tell(error: &TurnError) {
    match error {
        TurnError::Alarm(why) => {
            tracing::error!(
                why,
                "integrity alarm: nothing is sealed until this is resolved; see docs/integrity.md"
            );
        }
        other => tracing::warn!(error = other as &dyn std::error::Error, "the log cannot be sealed now"),
    }
}
