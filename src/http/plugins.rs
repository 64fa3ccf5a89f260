//! `/plugins`: manifests, their state, and runs of one plugin alone.

use std::time::Duration;

use flexcore_actors::domain::outcome::Usage;
use flexcore_actors::runtime::api::CommandKind;
use flexcore_actors::runtime::views::{ExecutionView, PluginView};
use http::StatusCode;
use http::header::HeaderName;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::body::{Payload, free_object, payload, strictly};
use super::definitions::{self, action, part};
use super::limits::{EXECUTE_WAIT, EXECUTE_WAIT_MAX};
use super::pipelines::or_empty;
use super::problem::Problem;
use super::reply::{Answer, Ctx, CtxFilter, json, name_in_path, started, with_header, with_location};
use super::table::BASE;

const VERBS: &[(&str, CommandKind)] =
    &[("enable", CommandKind::EnablePlugin), ("disable", CommandKind::DisablePlugin)];

/// The routes under `/plugins`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let execute = action("execute").and(ctx.clone()).and(payload()).then(execute);
    let status = part("status").and(ctx.clone()).then(status);
    let definitions = definitions::routes::<PluginView>(ctx, VERBS);
    warp::path("plugins").and(any_of!(execute, definitions, status)).boxed()
}

async fn status(name: String, ctx: Ctx) -> Answer {
    let view = ctx.api.plugin(&name_in_path("plugin", &name)?).await?;
    let body = json!({
        "name": view.name, "version": view.version, "status": view.status, "health": view.health,
        "executions": view.executions, "last_error": view.last_error, "quarantine": view.quarantine,
        "updated_at": view.updated_at,
    });
    json(StatusCode::OK, &body)
}

async fn execute(name: String, ctx: Ctx, body: Payload) -> Answer {
    let name = name_in_path("plugin", &name)?;
    let body = body.json_if_any(&ctx.call.headers).await?.unwrap_or_else(|| json!({}));
    let payload = strictly(&body, |body| {
        let operation = body.text("operation");
        let config = or_empty(free_object(body, "config"));
        let parameters = or_empty(free_object(body, "parameters"));
        free_object(body, "metadata"); // the caller's own; only looked at for its shape
        json!({"operation": operation, "config": config, "parameters": parameters})
    })?;
    let wait = wait_of(&payload["parameters"])?;
    let accepted = ctx.submit(CommandKind::ExecutePlugin, name.as_str(), payload).await?;
    let id = started(&accepted)?;
    let at_once = ctx.call.prefers_async();
    // a node that shuts down answers at once: the execution goes on after its restart
    let view = tokio::select! {
        view = ctx.api.wait_execution(id, if at_once { Duration::ZERO } else { wait }) => view.ok(),
        () = ctx.call.shutdown.cancelled() => None,
    };
    let ended = view.as_ref().filter(|view| view.ended_at.is_some() && !at_once);
    let mut response = match ended {
        Some(view) => json(StatusCode::OK, &outcome(view))?,
        None => {
            let status = view.as_ref().map_or("queued", |view| view.status);
            json(StatusCode::ACCEPTED, &json!({"execution_id": id, "status": status}))?
        }
    };
    if at_once {
        response = with_header(response, HeaderName::from_static("preference-applied"), "respond-async");
    }
    Ok(with_location(response, &format!("{BASE}/executions/{id}")))
}

fn outcome(view: &ExecutionView) -> Value {
    json!({
        "execution_id": view.id, "status": view.status, "result": view.result, "cause": view.cause,
        "usage": usage(view),
    })
}

/// What the last attempt's programs used together; absent when nothing ran.
fn usage(view: &ExecutionView) -> Option<Usage> {
    let attempt = view.steps.last()?.attempts.last()?;
    attempt.programs.iter().map(|program| program.usage).reduce(|a, b| Usage {
        wall_ms: a.wall_ms.max(b.wall_ms),
        cpu_ms: a.cpu_ms + b.cpu_ms,
        peak_memory_bytes: a.peak_memory_bytes + b.peak_memory_bytes,
    })
}

/// `parameters.timeout_seconds`: how long the answer waits; the program gets it like any other parameter.
fn wait_of(parameters: &Value) -> Result<Duration, Problem> {
    let Some(given) = parameters.get("timeout_seconds").filter(|value| !value.is_null()) else {
        return Ok(EXECUTE_WAIT);
    };
    let seconds = given.as_f64().filter(|s| *s >= 0.0 && *s <= EXECUTE_WAIT_MAX.as_secs_f64());
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let most = EXECUTE_WAIT_MAX.as_secs();
        Problem::field(
            "parameters.timeout_seconds",
            format!("expected a number from 0 to {most}; use Prefer: respond-async for longer runs"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::executions::tests::execution;

    #[test]
    fn an_outcome_has_what_the_last_programs_used() {
        let mut view = execution();
        assert_eq!(outcome(&view)["usage"], json!({"wall_ms": 7, "cpu_ms": 6, "peak_memory_bytes": 20}));
        assert_eq!(outcome(&view)["status"], "running");
        view.steps.clear();
        assert_eq!(outcome(&view)["usage"], Value::Null);
    }

    #[test]
    fn the_wait_is_bounded() {
        assert_eq!(wait_of(&json!({})).unwrap(), Duration::from_secs(30));
        assert_eq!(wait_of(&json!({"timeout_seconds": 0.5})).unwrap(), Duration::from_millis(500));
        assert_eq!(wait_of(&json!({"timeout_seconds": 3600})).unwrap(), Duration::from_secs(3600));
        for bad in [json!(-1), json!(3601), json!("5"), json!(true)] {
            assert_eq!(wait_of(&json!({"timeout_seconds": bad})).unwrap_err().status(), 422, "{bad}");
        }
    }
}
