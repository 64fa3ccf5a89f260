//! The work of a durable subscription: wait for the lease, then handle page after page, save the checkpoint, renew
//! the lease. Whoever has lost the lease stops; what it had begun is done again by the next owner.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::handler::{Handled, Handler, persist};
use super::log::{Follower, Log, LogPage};
use super::replay::Replay;
use crate::domain::event::RecordedEvent;
use crate::domain::ids::{Epoch, Name, Position, StreamId};
use crate::limits::{
    CHECKPOINT_EVENTS, CHECKPOINT_INTERVAL, CHECKPOINT_TIMEOUT, FOLLOW_RETRY, HANDLE_BATCH, HANDLE_LANES,
    LAST_PAGES, LEASE, LEASE_CLAIM, LEASE_GUARD, LEASE_RENEW,
};
use crate::ports::event_store::StoreError;
use crate::ports::subscription_store::{Claim, Grant};
use crate::ports::{EventStore, SubscriptionStore};
use crate::runtime::inspect::Probe;

/// What a worker works with.
pub(super) struct Worker {
    pub(super) events: Arc<dyn EventStore>,
    pub(super) store: Arc<dyn SubscriptionStore>,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) name: Name,
    /// The node.
    pub(super) owner: String,
    pub(super) probe: Arc<Probe>,
    /// Cancelled when it shall come to its end: what is stored by then is still handled.
    pub(super) stop: CancellationToken,
    /// Cancelled when this node has been superseded: nothing can be handled any more.
    pub(super) superseded: CancellationToken,
}

/// The lease and how far the work has come under it.
pub(super) struct Held {
    epoch: Epoch,
    /// Everything up to here is handled or parked.
    done: Position,
    saved: Position,
    /// Events handled since the checkpoint was saved.
    unsaved: usize,
    saved_at: Instant,
}

/// Why the work under a lease ended.
enum End {
    /// It was asked to.
    Stopped,
    /// The lease is another's, or could not be renewed in time.
    Lost,
}

impl Worker {
    /// Works until it is stopped.
    ///
    /// # Errors
    /// When a store fails and waiting does not help.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<Replay>) -> Result<(), StoreError> {
        while let Some(mut held) = self.claim(&mut requests).await? {
            tracing::debug!(subscription = %self.name, position = held.done.0, epoch = held.epoch.0, "handling events");
            let end = tokio::select! {
                end = self.hold(&mut held, &mut requests) => end?,
                () = self.superseded.cancelled() => End::Stopped,
            };
            if let End::Stopped = end {
                // an error costs the next owner the rest of the lease
                let released = timeout(CHECKPOINT_TIMEOUT, self.store.release(self.grant(&held))).await;
                tracing::debug!(subscription = %self.name, ?released, "handles no more events");
                return Ok(());
            }
            tracing::warn!(subscription = %self.name, "lost the lease: another node handles the events, or the store is away");
        }
        Ok(())
    }

    /// Waits for the lease; `None` when it is stopped before.
    async fn claim(&self, requests: &mut mpsc::Receiver<Replay>) -> Result<Option<Held>, StoreError> {
        loop {
            let mut owner = None;
            let sent = Instant::now();
            match self.store.claim(&self.name, &self.owner, LEASE).await {
                Ok(Claim::Granted { epoch, position }) => {
                    return Ok(Some(Held {
                        epoch,
                        done: position,
                        saved: position,
                        unsaved: 0,
                        saved_at: sent,
                    }));
                }
                Ok(Claim::Held { owner: other, .. }) => owner = Some(other),
                Err(error) if error.retryable() => {
                    let error = &error as &(dyn std::error::Error + Send + Sync);
                    tracing::warn!(error, subscription = %self.name, "the lease cannot be claimed now, waiting");
                }
                Err(error) => return Err(error),
            }
            let next = pin!(tokio::time::sleep(LEASE_CLAIM));
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                () = self.superseded.cancelled() => return Ok(None),
                Some(request) = requests.recv() => request.refuse(owner),
                () = next => {}
            }
        }
    }

    async fn hold(&self, held: &mut Held, requests: &mut mpsc::Receiver<Replay>) -> Result<End, StoreError> {
        let mut follower = Log::new(Arc::clone(&self.events)).follow(held.done, self.handler.filter());
        let mut tick = interval(CHECKPOINT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let page = {
                let mut next = pin!(follower.next());
                loop {
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => break None,
                        _ = tick.tick() => if !self.keep(held).await? { return Ok(End::Lost) },
                        Some(request) = requests.recv() => self.replay(held, request).await?,
                        page = &mut next => break Some(page?),
                    }
                }
            };
            let Some(page) = page else { break };
            if !self.page(page, held, &mut tick).await? {
                return Ok(End::Lost);
            }
        }
        // what is stored by now is the end of what this node did: it is handled before the node ends
        let last = timeout(LAST_PAGES, self.last_pages(&mut follower, held, &mut tick)).await;
        if !matches!(last, Ok(Ok(true))) {
            tracing::info!(subscription = %self.name, "the last events are handled at the next start");
        }
        Ok(if self.save(held).await? { End::Stopped } else { End::Lost })
    }

    async fn last_pages(
        &self,
        follower: &mut Follower,
        held: &mut Held,
        tick: &mut Interval,
    ) -> Result<bool, StoreError> {
        let head = self.events.head().await?;
        while held.done < head {
            let page = follower.next().await?;
            if !self.page(page, held, tick).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Handles a page, the events of different streams at the same time; false when the lease was lost meanwhile.
    async fn page(&self, page: LogPage, held: &mut Held, tick: &mut Interval) -> Result<bool, StoreError> {
        let _busy = self.probe.busy();
        for batch in page.events.chunks(HANDLE_BATCH) {
            self.probe.enqueued();
            let grant = self.grant(held);
            let mut work = pin!(self.batch(batch, grant));
            let ours = loop {
                tokio::select! {
                    biased;
                    _ = tick.tick() => if !self.keep(held).await? { break false },
                    ours = &mut work => break ours?,
                }
            };
            if !ours {
                return Ok(false);
            }
            held.done = batch.last().map_or(held.done, |event| event.position);
            held.unsaved += batch.len();
            if held.unsaved >= CHECKPOINT_EVENTS && !self.save(held).await? {
                return Ok(false);
            }
        }
        held.done = page.through;
        Ok(true)
    }

    async fn batch(&self, batch: &[RecordedEvent], grant: Grant<'_>) -> Result<bool, StoreError> {
        let mut lanes: BTreeMap<&StreamId, Vec<&RecordedEvent>> = BTreeMap::new();
        for event in batch {
            lanes.entry(&event.stream).or_default().push(event);
        }
        let lanes: Vec<_> = lanes.into_values().map(|lane| Box::pin(self.lane(lane, grant))).collect();
        let mut done = stream::iter(lanes).buffer_unordered(HANDLE_LANES);
        while let Some(ours) = done.next().await {
            if !ours? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn lane(&self, events: Vec<&RecordedEvent>, grant: Grant<'_>) -> Result<bool, StoreError> {
        for event in events {
            if let Handled::Poison { attempts, error } = persist(&*self.handler, event).await {
                let position = event.position;
                tracing::error!(subscription = %self.name, position = position.0, error, attempts, "an event is parked");
                if !self.park(grant, position, attempts, &error).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(super) async fn park(
        &self,
        grant: Grant<'_>,
        position: Position,
        attempts: u32,
        error: &str,
    ) -> Result<bool, StoreError> {
        loop {
            match self.store.park(grant, position, attempts, error).await {
                Err(error) if error.retryable() => {
                    let error = &error as &(dyn std::error::Error + Send + Sync);
                    tracing::warn!(error, subscription = %self.name, "an event cannot be parked now, waiting");
                }
                done => return done,
            }
            tokio::time::sleep(FOLLOW_RETRY).await;
        }
    }

    /// Saves what was done since, and renews the lease when it is time; false when the lease is lost.
    async fn keep(&self, held: &mut Held) -> Result<bool, StoreError> {
        if held.done == held.saved && held.saved_at.elapsed() < LEASE_RENEW {
            return Ok(true);
        }
        self.save(held).await
    }

    async fn save(&self, held: &mut Held) -> Result<bool, StoreError> {
        let sent = Instant::now();
        let saved =
            timeout(CHECKPOINT_TIMEOUT, self.store.checkpoint(self.grant(held), held.done, LEASE)).await;
        match saved {
            Ok(Ok(true)) => {
                *held = Held { saved: held.done, unsaved: 0, saved_at: sent, ..*held };
                return Ok(true);
            }
            Ok(Ok(false)) => return Ok(false),
            Ok(Err(error)) if !error.retryable() => return Err(error),
            Ok(Err(error)) => {
                let error = &error as &(dyn std::error::Error + Send + Sync);
                tracing::warn!(error, subscription = %self.name, "the checkpoint cannot be saved now");
            }
            Err(_) => tracing::warn!(subscription = %self.name, "saving the checkpoint takes too long"),
        }
        Ok(held.saved_at.elapsed() < LEASE_GUARD)
    }

    pub(super) fn grant(&self, held: &Held) -> Grant<'_> {
        Grant { name: &self.name, epoch: held.epoch }
    }
}
