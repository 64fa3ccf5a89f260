//! Handling parked events again, because an operator asked for it.

use tokio::sync::oneshot;

use super::handler::{HandlerError, attempt};
use super::worker::{Held, Worker};
use crate::domain::ids::Position;
use crate::limits::REPLAY_PAGE;
use crate::ports::event_store::{EventFilter, StoreError};
use crate::ports::subscription_store::ParkedEvent;

/// Asks a subscription to handle parked events again.
pub(super) struct Replay {
    /// Only this one; otherwise all, in order, at most [`REPLAY_PAGE`].
    pub(super) position: Option<Position>,
    pub(super) reply: oneshot::Sender<Result<Replayed, ReplayError>>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Events that were handled now and are no longer parked.
    pub handled: u64,
    /// Events that failed again.
    pub failed: u64,
}

/// Why nothing was replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Nothing on this node handles events of the subscription.
    #[error("no handler on this node")]
    NoHandler,
    /// Another node owns it.
    #[error("the subscription is handled by node {0}: ask that one")]
    Elsewhere(String),
    /// The event is not parked.
    #[error("the event at position {0} is not parked")]
    NotParked(Position),
    /// A store is away, or the subscription is just being started.
    #[error("it cannot be replayed now")]
    Away,
}

impl Replay {
    /// Answers for a worker without the lease.
    pub(super) fn refuse(self, owner: Option<String>) {
        let error = owner.map_or(ReplayError::Away, ReplayError::Elsewhere);
        self.reply.send(Err(error)).unwrap_or_default();
    }
}

impl Worker {
    pub(super) async fn replay(&self, held: &Held, request: Replay) -> Result<(), StoreError> {
        let replayed = match self.replay_parked(held, request.position).await {
            Err(error) if error.retryable() => {
                let error = &error as &(dyn std::error::Error + Send + Sync);
                tracing::warn!(error, subscription = %self.name, "parked events cannot be replayed now");
                Err(ReplayError::Away)
            }
            done => done?,
        };
        request.reply.send(replayed).unwrap_or_default();
        Ok(())
    }

    async fn replay_parked(
        &self,
        held: &Held,
        position: Option<Position>,
    ) -> Result<Result<Replayed, ReplayError>, StoreError> {
        let mut parked = match position {
            None => self.store.parked(&self.name, Position(0), REPLAY_PAGE).await?,
            Some(Position(one)) => self.store.parked(&self.name, Position(one.saturating_sub(1)), 1).await?,
        };
        if let Some(one) = position {
            parked.retain(|event| event.position == one);
            if parked.is_empty() {
                return Ok(Err(ReplayError::NotParked(one)));
            }
        }
        let mut replayed = Replayed::default();
        for event in &parked {
            let handled = self.try_again(held, event).await?;
            *(if handled { &mut replayed.handled } else { &mut replayed.failed }) += 1;
        }
        Ok(Ok(replayed))
    }

    /// One more attempt; true when the event is no longer parked.
    async fn try_again(&self, held: &Held, parked: &ParkedEvent) -> Result<bool, StoreError> {
        let (grant, position) = (self.grant(held), parked.position);
        let before = Position(position.0.saturating_sub(1));
        let found = self.events.read_all(before, 1, &EventFilter::default()).await?;
        let outcome = match found.first().filter(|event| event.position == position) {
            Some(event) => attempt(&*self.handler, event).await,
            None => Err(HandlerError::Failed("the event is not in the store".to_owned())),
        };
        match outcome {
            Ok(()) => self.store.unpark(grant, position).await,
            Err(error) => {
                self.park(grant, position, parked.attempts.saturating_add(1), &error.to_string()).await?;
                Ok(false)
            }
        }
    }
}
