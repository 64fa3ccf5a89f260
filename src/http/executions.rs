//! `/executions`: lists, one of them, its history, and the commands that end or go on with it. Its logs stand in
//! their own file.

use flexcore_actors::domain::ids::StreamId;
use flexcore_actors::domain::projection::View;
use flexcore_actors::runtime::api::{CommandKind, EventQuery, ExecutionFilter};
use flexcore_actors::runtime::views::{ExecutionView, Page};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::body::{Payload, payload, strictly};
use super::definitions::{action, part};
use super::logs;
use super::problem::Problem;
use super::query::Query;
use super::reply::{Answer, Ctx, CtxFilter, changed, execution_in_path, json, resource, with_location};
use super::table::BASE;

/// What `status` may be.
pub(super) const STATUSES: &[&str] = &["queued", "running", "paused", "completed", "failed", "cancelled"];
/// What `kind` may be.
pub(super) const KINDS: &[&str] = &["pipeline", "plugin"];

const VERBS: &[(&str, CommandKind, StatusCode)] = &[
    ("cancel", CommandKind::CancelExecution, StatusCode::ACCEPTED),
    ("pause", CommandKind::PauseExecution, StatusCode::OK),
    ("resume", CommandKind::ResumeExecution, StatusCode::OK),
    ("retry", CommandKind::RetryExecution, StatusCode::ACCEPTED),
];

/// The routes under `/executions`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let show = warp::path!(String).and(warp::get()).and(ctx.clone()).then(show);
    let list = warp::path::end().and(warp::get()).and(ctx.clone()).then(list);
    let logs = part("logs").and(ctx.clone()).then(logs::read);
    let events = part("events").and(ctx.clone()).then(events);
    let timeline = part("timeline").and(ctx.clone()).then(timeline);
    let mut all = any_of!(show, list, logs, events, timeline);
    for &(verb, kind, status) in VERBS {
        let change = action(verb)
            .and(ctx.clone())
            .and(payload())
            .then(move |id, ctx, body| transition(kind, status, id, ctx, body));
        all = any_of!(all, change);
    }
    warp::path("executions").and(all).boxed()
}

/// The filters and page of a list of executions.
pub(super) fn filter(query: &Query) -> Result<ExecutionFilter, Problem> {
    Ok(ExecutionFilter {
        pipeline: query.parsed("pipeline")?,
        plugin: query.parsed("plugin")?,
        status: query.word("status", STATUSES)?.map(str::to_owned),
        kind: query.word("kind", KINDS)?.map(str::to_owned),
        from: query.parsed("from")?,
        to: query.parsed("to")?,
    })
}

async fn list(ctx: Ctx) -> Answer {
    let (filter, page) = (filter(&ctx.call.query)?, ctx.call.query.page()?);
    ctx.reflected(View::Executions).await?;
    json(StatusCode::OK, &ctx.api.executions(filter, page).await?)
}

async fn show(id: String, ctx: Ctx) -> Answer {
    let id = execution_in_path(&id)?;
    resource(&match ctx.call.query.at()? {
        Some(at) => ctx.api.execution_at(id, at).await?,
        None => ctx.api.execution(id).await?,
    })
}

async fn transition(kind: CommandKind, status: StatusCode, id: String, ctx: Ctx, body: Payload) -> Answer {
    let id = execution_in_path(&id)?;
    if let Some(body) = body.json_if_any(&ctx.call.headers).await? {
        strictly(&body, |body| {
            if kind == CommandKind::RetryExecution {
                body.not_supported("from", "retry from a step");
            }
        })?;
    }
    let accepted = ctx.submit(kind, id.to_string(), json!({})).await?;
    // a retry may be an execution of its own
    let id = accepted.execution_id.unwrap_or(id);
    let response = changed(status, &accepted, ctx.api.execution(id).await)?;
    Ok(with_location(response, &format!("{BASE}/executions/{id}")))
}

async fn events(id: String, ctx: Ctx) -> Answer {
    let id = execution_in_path(&id)?;
    let query = EventQuery {
        after: ctx.call.query.after()?,
        stream: Some(StreamId::execution(id)),
        limit: ctx.call.query.limit()?,
        ..EventQuery::default()
    };
    ctx.api.execution(id).await?; // 404 when there is none, instead of an empty list
    json(StatusCode::OK, &ctx.api.events(query).await?)
}

async fn timeline(id: String, ctx: Ctx) -> Answer {
    let view = ctx.api.execution(execution_in_path(&id)?).await?;
    let items = spans(&view, Timestamp::now());
    json(StatusCode::OK, &Page { items, next_cursor: None, position: view.position })
}

/// Every attempt as a bar: when it began, counted from the request for the execution, and how long it took so far.
fn spans(view: &ExecutionView, now: Timestamp) -> Vec<Value> {
    let span =
        |from: Timestamp, to: Option<Timestamp>| to.unwrap_or(now).duration_since(from).as_millis().max(0);
    let attempts =
        view.steps.iter().flat_map(|step| step.attempts.iter().map(move |attempt| (step, attempt)));
    let mut spans: Vec<(Timestamp, Value)> = attempts
        .map(|(step, attempt)| {
            let bar = json!({
                "step": step.name, "attempt": attempt.number, "status": attempt.status,
                "started_at": attempt.started_at, "ended_at": attempt.ended_at,
                "offset_ms": attempt.started_at.duration_since(view.queued_at).as_millis().max(0) as u64,
                "duration_ms": span(attempt.started_at, attempt.ended_at) as u64,
                "cause": attempt.cause,
            });
            (attempt.started_at, bar)
        })
        .collect();
    spans.sort_by_key(|(started_at, _)| *started_at);
    spans.into_iter().map(|(_, bar)| bar).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use flexcore_actors::domain::ids::{CorrelationId, ExecutionId, Name, Position, Version};
    use flexcore_actors::domain::outcome::{ProgramReport, Usage, Waits};
    use flexcore_actors::runtime::views::{AttemptView, StepView};
    use uuid::Uuid;

    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn attempt(number: u32, from: i64, to: Option<i64>) -> AttemptView {
        let usage = Usage { wall_ms: 7, cpu_ms: 3, peak_memory_bytes: 10 };
        let plugin = Name::new("p").unwrap();
        AttemptView {
            number,
            status: "running",
            phase: None,
            cause: None,
            started_at: second(from),
            ended_at: to.map(second),
            programs: vec![
                ProgramReport {
                    plugin,
                    pid: Some(1),
                    exit_code: None,
                    cause: None,
                    usage,
                    network: None,
                    sandbox: None,
                    warm: false,
                    denials: Vec::new(),
                };
                2
            ],
            streams: BTreeMap::new(),
            records: 0,
            bytes: 0,
            waits: Waits::default(),
            pipe_fill_per_mille: None,
            result: Value::Null,
        }
    }

    /// Queued at second 100; `a` runs from 103 to 105 and again since 109, `b` from 104 to 106.
    pub(in crate::http) fn execution() -> ExecutionView {
        let step = |name, attempts| StepView {
            name: Name::new(name).unwrap(),
            status: "running",
            next_attempt_at: None,
            waiting_for: None,
            attempts,
        };
        ExecutionView {
            id: ExecutionId(Uuid::nil()),
            kind: "pipeline",
            pipeline: None,
            plugin: None,
            parent_id: None,
            revision: None,
            status: "running",
            cause: None,
            cancel_requested: false,
            node: None,
            parameters: Value::Null,
            queued_at: second(100),
            started_at: None,
            ended_at: None,
            steps: vec![
                step("a", vec![attempt(1, 103, Some(105)), attempt(2, 109, None)]),
                step("b", vec![attempt(1, 104, Some(106))]),
            ],
            result: Value::Null,
            correlation_id: CorrelationId(Uuid::nil()),
            version: Version(4),
            position: Position(9),
        }
    }

    #[test]
    fn a_timeline_has_every_attempt_by_its_start() {
        let bars = spans(&execution(), second(112));
        let told = |bar: &Value| {
            (bar["step"].as_str().unwrap().to_owned(), bar["offset_ms"].as_u64(), bar["duration_ms"].as_u64())
        };
        let expected = [("a", 3_000, 2_000), ("b", 4_000, 2_000), ("a", 9_000, 3_000)];
        let expected = expected.map(|(step, from, took)| (step.to_owned(), Some(from), Some(took)));
        assert_eq!(bars.iter().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn filters_are_checked() {
        let read = |text: &str| filter(&Query::read(Some(text)));
        let full = "pipeline=p&plugin=q&status=failed&kind=plugin&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00%2B01:00";
        let given = read(full).unwrap();
        assert_eq!(given.pipeline.unwrap().as_str(), "p");
        assert_eq!(given.plugin.unwrap().as_str(), "q");
        assert_eq!((given.status.as_deref(), given.kind.as_deref()), (Some("failed"), Some("plugin")));
        assert_eq!(given.to.unwrap().to_string(), "2026-01-31T23:00:00Z");
        assert_eq!(read("").unwrap(), ExecutionFilter::default());
        for bad in ["pipeline=A", "status=done", "kind=x", "from=yesterday", "to="] {
            assert_eq!(read(bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
