//! Lists of the contract, read from the read models, and those models themselves: how far they have come, waiting for
//! them, rebuilding them. A list may lag behind what was acknowledged; it says by its position how far it has come.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::projector::Lane;
use super::super::views::{
    AuditView, ExecutionView, Page, ParkedEventView, PipelineView, PluginView, ProjectionView, RebuildView,
    SystemMetrics,
};
use super::commands::not_found;
use super::project::{self, ExecutionContext};
use super::queries::store_away;
use super::{Api, ApiError, AuditFilter, ExecutionFilter, PageRequest};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{Name, Position};
use crate::domain::projection::{
    Audit, AuditEntry, Bucket, Executions, Metrics, MetricsRow, Order, Pipelines, Plugins, Projection, Row,
    View, read_document,
};
use crate::ports::read_models::{LeftOut, RowCursor, RowQuery};

/// Hours of system metrics that are shown: two days.
const HOURS: usize = 48;
/// Days of system metrics that are shown: a quarter.
const DAYS: usize = 92;

impl Api {
    /// Pipelines by name.
    ///
    /// # Errors
    /// When the cursor is none of ours, or the store is away.
    pub async fn pipelines(&self, page: PageRequest) -> Result<Page<PipelineView>, ApiError> {
        let query = query::<Pipelines>(Vec::new(), &page)?;
        let page = self.list::<Pipelines>(query).await?;
        Ok(page.map(|(_, row)| project::pipeline(&row.state)))
    }

    /// Plugins by name; only those of a status, where one is given.
    ///
    /// # Errors
    /// When the cursor is none of ours, or the store is away.
    pub async fn plugins(
        &self,
        status: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<PluginView>, ApiError> {
        let tags = status.map(|status| ("status", status.to_owned())).into_iter().collect();
        let now = self.services.shared.clock.now();
        let page = self.list::<Plugins>(query::<Plugins>(tags, &page)?).await?;
        Ok(page.map(|(_, row)| project::plugin(&row.state, now)))
    }

    /// Executions, newest first; the counts of those that run on this node are live.
    ///
    /// # Errors
    /// When the cursor is none of ours, or the store is away.
    pub async fn executions(
        &self,
        filter: ExecutionFilter,
        page: PageRequest,
    ) -> Result<Page<ExecutionView>, ApiError> {
        let ExecutionFilter { pipeline, plugin, status, kind, from, to } = filter;
        let text = |name: Name| name.to_string();
        let tags = [
            ("pipeline", pipeline.map(text)),
            ("plugin", plugin.map(text)),
            ("kind", kind),
            ("status", status),
        ];
        let query = RowQuery { from, to, ..query::<Executions>(given(tags), &page)? };
        let live = &self.services.live;
        Ok(self.list::<Executions>(query).await?.map(|(key, row)| {
            let (correlation_id, position) = (row.correlation_id, row.position);
            let id = key.parse().ok()?;
            project::execution(&row.state, &ExecutionContext { id, correlation_id, position, live })
        }))
    }

    /// Requests from outside, newest first: those that were accepted and those that were refused.
    ///
    /// # Errors
    /// When the cursor is none of ours, or the store is away.
    pub async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditView>, ApiError> {
        let AuditFilter { actor, outcome, from, to } = filter;
        let tags = given([("actor", actor), ("outcome", outcome)]);
        let query = RowQuery { from, to, ..query::<Audit>(tags, &page)? };
        Ok(self.list::<Audit>(query).await?.map(|(_, entry)| Some(audited(entry))))
    }

    /// This node's counters, and what happened on the whole system by hour and day.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn system_metrics(&self) -> Result<SystemMetrics, ApiError> {
        let (hours, reflects) = self.buckets("hour", HOURS).await?;
        let (days, _) = self.buckets("day", DAYS).await?;
        Ok(SystemMetrics { node: self.metrics(), hours, days, reflects })
    }

    /// A request was answered of which no event tells: the audit log records it. Never waits.
    pub fn audited(&self, request: impl Into<AuditEvent>) {
        self.services.unrecorded.note(request.into());
    }

    /// Waits until the lists of a view reflect a position.
    ///
    /// # Errors
    /// [`ApiError::Unavailable`] when they do not within `patience`.
    pub async fn reflects(&self, view: View, wanted: Position, patience: Duration) -> Result<(), ApiError> {
        let projections = &self.services.projections;
        if projections.reach(view, wanted, patience).await {
            return Ok(());
        }
        let what = format!("a list of {} that reflects min_position {wanted}", view.as_str());
        let what = format!("{what} (it has come to {})", projections.lane(view).position());
        Err(ApiError::Unavailable { what, retry_after: 1 })
    }

    /// How far the read models have come on this node; asks nobody.
    #[must_use]
    pub fn projections(&self) -> Vec<ProjectionView> {
        let (head, now) =
            (*self.services.shared.store.head_changes().borrow(), self.services.shared.clock.now());
        self.services.projections.lanes().iter().map(|lane| projected(lane, head, now)).collect()
    }

    /// Events that are left out of a read model, beyond a position. Folding is tried once: it would fail again, until a
    /// rebuild by a program that can.
    ///
    /// # Errors
    /// When there is none of that name, or the store is away.
    pub async fn left_out(
        &self,
        name: &str,
        after: Position,
        limit: usize,
    ) -> Result<Page<ParkedEventView>, ApiError> {
        let view = View::named(name).ok_or_else(|| not_found("projection", name))?;
        let parked = self.services.projections.models.parked(view, after, limit).await.map_err(store_away)?;
        let next_cursor =
            parked.last().filter(|_| parked.len() == limit).map(|event| event.position.to_string());
        let items = parked.into_iter().map(|LeftOut { position, error, parked_at }| ParkedEventView {
            position,
            attempts: 1,
            error,
            parked_at,
        });
        let position = self.services.projections.lane(view).position();
        Ok(Page { items: items.collect(), next_cursor, position })
    }

    /// Begins to build a read model anew beside the live one, which lists show until it is replaced.
    ///
    /// # Errors
    /// When there is none of that name, or the store is away.
    pub async fn rebuild(&self, name: &str) -> Result<ProjectionView, ApiError> {
        let view = View::named(name).ok_or_else(|| not_found("projection", name))?;
        let begun = self.services.projections.rebuild(view).await.map_err(store_away)?;
        let target = *self.services.shared.store.head_changes().borrow();
        let lane = self.services.projections.lane(view);
        let rebuild = begun.building.map(|(building, _)| RebuildView { position: building.position, target });
        let now = self.services.shared.clock.now();
        // the generation that is replaced, as the store said it: the projector may have gone on by now
        let generation = begun.live.generation.0;
        Ok(ProjectionView { status: "rebuilding", rebuild, generation, ..projected(lane, target, now) })
    }

    async fn buckets(&self, period: &str, limit: usize) -> Result<(Vec<Bucket>, Position), ApiError> {
        let page = PageRequest { cursor: None, limit };
        let query = query::<Metrics>(vec![("period", period.to_owned())], &page)?;
        let page = self.list::<Metrics>(query).await?.map(|(_, row)| match row {
            MetricsRow::Hour(bucket) | MetricsRow::Day(bucket) => Some(bucket),
            MetricsRow::Open { .. } => None,
        });
        Ok((page.items, page.position))
    }

    /// A page of rows with their keys.
    async fn list<P: Projection>(&self, query: RowQuery) -> Result<Page<(String, P::State)>, ApiError> {
        // one more than asked for tells whether there is a next page
        let wanted = RowQuery { limit: query.limit.saturating_add(1), ..query };
        let mut page = self.services.projections.models.list(&wanted).await.map_err(store_away)?;
        let more = page.rows.len() > query.limit;
        page.rows.truncate(query.limit);
        let next_cursor = page.rows.last().filter(|_| more).map(|row| write_cursor(P::VIEW, row));
        let read = |row: &Row| read_document::<P>(row).map(|state| (row.key.clone(), state));
        let items = page.rows.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a read model cannot be read");
            let what = format!("the read model {}, which has to be rebuilt,", P::VIEW.as_str());
            ApiError::Unavailable { what, retry_after: 5 }
        })?;
        Ok(Page { items, next_cursor, position: page.position })
    }
}

impl<T> Page<T> {
    /// The same page of other items; those that are none are left out.
    fn map<U>(self, change: impl FnMut(T) -> Option<U>) -> Page<U> {
        let Self { items, next_cursor, position } = self;
        Page { items: items.into_iter().filter_map(change).collect(), next_cursor, position }
    }
}

fn projected(lane: &Lane, head: Position, now: Timestamp) -> ProjectionView {
    let rebuild = lane.building().map(|position| RebuildView { position, target: head.max(position) });
    let position = lane.position();
    ProjectionView {
        name: lane.view().as_str(),
        status: match (&rebuild, lane.frozen()) {
            (Some(_), _) => "rebuilding",
            (None, true) => "waiting",
            (None, false) => "live",
        },
        position,
        lag: head.0.saturating_sub(position.0),
        lag_ms: u64::try_from(lane.lag(head, now).as_millis()).unwrap_or(u64::MAX),
        generation: lane.generation(),
        rebuild,
        events: lane.events(),
        parked: lane.parked(),
    }
}

fn audited(entry: AuditEntry) -> AuditView {
    AuditView {
        at: entry.at,
        actor: entry.actor,
        address: entry.address,
        outcome: entry.outcome,
        action: entry.action,
        aggregate_id: entry.stream,
        status: entry.status,
        count: entry.count,
        events: entry.events,
        command_id: entry.command_id,
        correlation_id: entry.correlation_id,
        node: entry.node,
        position: entry.position,
    }
}

fn given<const N: usize>(tags: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    tags.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect()
}

fn query<P: Projection>(tags: Vec<(&'static str, String)>, page: &PageRequest) -> Result<RowQuery, ApiError> {
    let after = page.cursor.as_deref().map(|cursor| read_cursor(P::VIEW, cursor)).transpose()?;
    Ok(RowQuery { view: P::VIEW, tags, from: None, to: None, after, limit: page.limit })
}

fn write_cursor(view: View, row: &Row) -> String {
    match view.order() {
        Order::ByKey => row.key.clone(),
        Order::NewestFirst => format!("{}.{}", row.indexed.at.as_microsecond(), row.key),
    }
}

fn read_cursor(view: View, cursor: &str) -> Result<RowCursor, ApiError> {
    let read = match view.order() {
        // the views ordered by key have names as keys
        Order::ByKey => Name::new(cursor).ok().map(|name| (SignedDuration::ZERO, name.to_string())),
        Order::NewestFirst => cursor.split_once('.').and_then(|(micros, key)| {
            Some((SignedDuration::from_micros(micros.parse().ok()?), key.to_owned()))
        }),
    };
    let at = |since: SignedDuration| Timestamp::UNIX_EPOCH.checked_add(since).ok();
    read.and_then(|(since, key)| Some(RowCursor { at: at(since)?, key }))
        .ok_or_else(|| ApiError::Malformed("cursor: not one that a page named as its next_cursor".to_owned()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ports::read_models::row;

    #[test]
    fn cursors_read_what_they_wrote() {
        let at = Timestamp::from_microsecond(-1_234_567).unwrap();
        let row = row("a.b@7".to_owned(), at, Vec::new(), Bytes::new());
        let cursor = read_cursor(View::Audit, &write_cursor(View::Audit, &row)).unwrap();
        assert_eq!(cursor, RowCursor { at, key: "a.b@7".to_owned() });
        let by_key = read_cursor(View::Plugins, "tap-csv").unwrap();
        assert_eq!(by_key.key, "tap-csv");
        for (view, bad) in [
            (View::Plugins, "../"),
            (View::Executions, "junk"),
            (View::Executions, "x.y"),
            (View::Executions, "9223372036854775807.a"),
        ] {
            assert!(matches!(read_cursor(view, bad), Err(ApiError::Malformed(_))), "{bad}");
        }
    }
}
