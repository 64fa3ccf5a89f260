//! Events as they happen, and the durable subscriptions that react to them.

use super::super::subscription::{Follower, Log, ReplayError, Replayed};
use super::super::views::{EventView, Page, ParkedEventView, SubscriptionView};
use super::queries::store_away;
use super::{Api, ApiError, EventQuery, project};
use crate::domain::ids::{Name, Position};
use crate::ports::event_store::StoreError;
use crate::ports::subscription_store::Subscription;

/// Events from some position on, then as they happen.
pub struct EventFeed(Follower);

impl EventFeed {
    /// The next events, when there are any: each once, in order, none left out. Their list is empty when only the
    /// position has moved on, over events that the query leaves out. While the store is away it waits.
    ///
    /// # Errors
    /// When the store fails for good.
    pub async fn next(&mut self) -> Result<(Vec<EventView>, Position), ApiError> {
        let page = self.0.next().await.map_err(broken)?;
        Ok((page.events.into_iter().map(project::event).collect(), page.through))
    }
}

impl Api {
    /// The position of the store's last event.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn head(&self) -> Result<Position, ApiError> {
        self.services.shared.store.head().await.map_err(store_away)
    }

    /// Follows the events of a query beyond its position, at most `query.limit` at a time.
    #[must_use]
    pub fn follow_events(&self, query: EventQuery) -> EventFeed {
        let (after, limit) = (query.after, query.limit);
        let log = Log::new(std::sync::Arc::clone(&self.services.shared.store));
        EventFeed(log.follow(after, query.filter()).by_pages_of(limit))
    }

    /// The durable subscriptions, by name.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn subscriptions(&self) -> Result<Page<SubscriptionView>, ApiError> {
        let all = self.services.subscriptions.store.subscriptions().await.map_err(store_away)?;
        let position = self.head().await?;
        let items = all.into_iter().map(|subscription| shown(subscription, position)).collect();
        Ok(Page { items, next_cursor: None, position })
    }

    /// The events that a subscription has parked, beyond a position.
    ///
    /// # Errors
    /// When there is no such subscription, or the store is away.
    pub async fn parked(
        &self,
        name: &Name,
        after: Position,
        limit: usize,
    ) -> Result<Page<ParkedEventView>, ApiError> {
        self.subscription(name).await?;
        let parked = self.services.subscriptions.store.parked(name, after, limit).await;
        let parked = parked.map_err(store_away)?;
        let next_cursor =
            parked.last().filter(|_| parked.len() == limit).map(|event| event.position.to_string());
        let items = parked.into_iter().map(|event| ParkedEventView {
            position: event.position,
            attempts: event.attempts,
            error: event.error,
            parked_at: event.parked_at,
        });
        Ok(Page { items: items.collect(), next_cursor, position: self.head().await? })
    }

    /// Handles parked events of a subscription again: one, or the first hundred.
    ///
    /// # Errors
    /// When there is no such subscription or parked event, another node handles it, or the store is away.
    pub async fn replay(&self, name: &Name, position: Option<Position>) -> Result<Replayed, ApiError> {
        self.subscription(name).await?;
        self.services.subscriptions.replay(name, position).await.map_err(|error| match error {
            ReplayError::NotParked(position) => {
                ApiError::NotFound { kind: "parked event", id: position.to_string() }
            }
            ReplayError::Away => {
                ApiError::Unavailable { what: format!("subscription {name}"), retry_after: 1 }
            }
            ReplayError::NoHandler | ReplayError::Elsewhere(_) => ApiError::Conflict(error.to_string()),
        })
    }

    async fn subscription(&self, name: &Name) -> Result<(), ApiError> {
        let all = self.services.subscriptions.store.subscriptions().await.map_err(store_away)?;
        let known = all.iter().any(|subscription| subscription.name == *name);
        known.then_some(()).ok_or_else(|| ApiError::NotFound { kind: "subscription", id: name.to_string() })
    }
}

fn shown(subscription: Subscription, head: Position) -> SubscriptionView {
    SubscriptionView {
        position: subscription.position,
        behind: head.0.saturating_sub(subscription.position.0),
        owner: subscription.owner,
        lease_until: subscription.lease_until,
        updated_at: subscription.updated_at,
        parked: subscription.parked,
        name: subscription.name,
    }
}

fn broken(error: StoreError) -> ApiError {
    tracing::error!(error = &error as &dyn std::error::Error, "the log cannot be followed");
    ApiError::Internal
}
