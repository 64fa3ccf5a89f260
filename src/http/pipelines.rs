//! `/pipelines`: definitions, executions started, revisions and bookmarks.

use flexcore_actors::runtime::api::CommandKind;
use flexcore_actors::runtime::views::PipelineView;
use http::StatusCode;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::body::{Payload, free_object, payload, strictly};
use super::definitions::{self, action, part};
use super::problem::Problem;
use super::reply::{Answer, Ctx, CtxFilter, json, name_in_path, started, with_location};
use super::table::BASE;

const VERBS: &[(&str, CommandKind)] = &[
    ("activate", CommandKind::ActivatePipeline),
    ("pause", CommandKind::PausePipeline),
    ("resume", CommandKind::ResumePipeline),
];

/// The routes under `/pipelines`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let execute = action("execute").and(ctx.clone()).and(payload()).then(execute);
    let revisions = part("revisions").and(ctx.clone()).then(revisions);
    let bookmarks = part("bookmarks").and(ctx.clone()).then(bookmarks);
    let bookmark = warp::path!(String / "bookmarks" / String);
    let set = bookmark.and(warp::put()).and(ctx.clone()).and(payload()).then(set_bookmark);
    let clear = bookmark.and(warp::delete()).and(ctx.clone()).then(clear_bookmark);
    let definitions = definitions::routes::<PipelineView>(ctx, VERBS);
    warp::path("pipelines").and(any_of!(execute, definitions, revisions, bookmarks, set, clear)).boxed()
}

async fn execute(name: String, ctx: Ctx, body: Payload) -> Answer {
    let name = name_in_path("pipeline", &name)?;
    let body = body.json_if_any(&ctx.call.headers).await?.unwrap_or_else(|| json!({}));
    let payload = strictly(&body, |body| {
        let parameters = free_object(body, "parameters");
        let from_scratch = body.boolean("from_scratch").unwrap_or_default();
        json!({"parameters": or_empty(parameters), "from_scratch": from_scratch})
    })?;
    let accepted = ctx.submit(CommandKind::StartPipeline, name.as_str(), payload).await?;
    let id = started(&accepted)?;
    // the start is durable: an execution that cannot be read right now is queued all the same
    let (status, started_at) = match ctx.api.execution(id).await {
        Ok(view) => (view.status, view.started_at),
        Err(_) => ("queued", None),
    };
    let body = json!({"execution_id": id, "pipeline_id": name, "status": status, "started_at": started_at});
    Ok(with_location(json(StatusCode::ACCEPTED, &body)?, &format!("{BASE}/executions/{id}")))
}

async fn revisions(name: String, ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.api.revisions(&name_in_path("pipeline", &name)?).await?)
}

async fn bookmarks(name: String, ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.api.bookmarks(&name_in_path("pipeline", &name)?).await?)
}

async fn set_bookmark(name: String, step: String, ctx: Ctx, body: Payload) -> Answer {
    let name = name_in_path("pipeline", &name)?;
    let step = name_in_path("step", &step)?;
    let body = body.json(&ctx.call.headers).await?;
    if body.get("state").is_none() {
        return Err(Problem::field(
            "state",
            "state is required: send {\"state\": {…}} with the Singer state",
        ));
    }
    let state = strictly(&body, |body| body.value("state").cloned().unwrap_or_default())?;
    let payload = json!({"step": step, "state": state});
    let accepted = ctx.submit(CommandKind::SetBookmark, name.as_str(), payload).await?;
    // durable by now: when the list cannot be read, the outcome alone is the answer
    let stored = ctx.api.bookmarks(&name).await.ok();
    match stored.and_then(|page| page.items.into_iter().find(|bookmark| bookmark.step == step)) {
        Some(bookmark) => json(StatusCode::OK, &bookmark),
        None => json(StatusCode::OK, &accepted),
    }
}

async fn clear_bookmark(name: String, step: String, ctx: Ctx) -> Answer {
    let name = name_in_path("pipeline", &name)?;
    let step = name_in_path("step", &step)?;
    let accepted = ctx.submit(CommandKind::ClearBookmark, name.as_str(), json!({"step": step})).await?;
    json(StatusCode::OK, &accepted)
}

/// An absent object of a body, as the empty one.
pub(super) fn or_empty(value: Value) -> Value {
    if value.is_null() { json!({}) } else { value }
}
