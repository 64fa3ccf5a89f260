//! What a durable subscription does with an event, and how often it tries. Never in here: where the subscription is.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::domain::event::RecordedEvent;
use crate::domain::ids::Name;
use crate::limits::{HANDLE_ATTEMPTS, HANDLE_RETRY, HANDLE_RETRY_MAX};
use crate::ports::BoxFuture;
use crate::ports::event_store::EventFilter;

/// Reacts to events. Each comes at least once, those of one stream in their order: what it does must be right when
/// it is done again.
pub trait Handler: Send + Sync + 'static {
    /// The name of the subscription, which its checkpoint is kept under.
    fn name(&self) -> Name;

    /// Which events it gets.
    fn filter(&self) -> EventFilter;

    /// Handles one.
    fn handle<'a>(&'a self, event: &'a RecordedEvent) -> BoxFuture<'a, Result<(), HandlerError>>;
}

/// Why an event was not handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// Something that the event is not to blame for is away: it is tried again until that is back.
    #[error("{0}")]
    Away(String),
    /// The event cannot be handled as it is; after some attempts it is parked.
    #[error("{0}")]
    Failed(String),
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handled {
    /// It is done.
    Done,
    /// It failed so often.
    Poison {
        /// How often.
        attempts: u32,
        /// The last time for this reason.
        error: String,
    },
}

/// One attempt; a panic is one that failed.
pub(super) async fn attempt(handler: &dyn Handler, event: &RecordedEvent) -> Result<(), HandlerError> {
    let handled = AssertUnwindSafe(async { handler.handle(event).await }).catch_unwind().await;
    handled.unwrap_or_else(|_| {
        Err(HandlerError::Failed("its handler panicked; the node's log has the details".to_owned()))
    })
}

/// Tries until it is done, or has failed [`HANDLE_ATTEMPTS`] times.
pub(super) async fn persist(handler: &dyn Handler, event: &RecordedEvent) -> Handled {
    let (mut attempts, mut pause) = (0, HANDLE_RETRY);
    loop {
        let position = event.position.0;
        match attempt(handler, event).await {
            Ok(()) => return Handled::Done,
            Err(HandlerError::Away(reason)) => {
                tracing::warn!(subscription = %handler.name(), position, reason, ?pause, "an event waits");
            }
            Err(HandlerError::Failed(error)) => {
                attempts += 1;
                if attempts >= HANDLE_ATTEMPTS {
                    return Handled::Poison { attempts, error };
                }
                tracing::warn!(subscription = %handler.name(), position, error, attempts, "an event failed");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(HANDLE_RETRY_MAX);
    }
}
