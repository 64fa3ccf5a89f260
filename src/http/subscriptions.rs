//! Routes about durable subscriptions: what reacts to events, how far it has come, and what it could not handle.

use flexcore_actors::domain::ids::Position;
use http::StatusCode;
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::body::{Payload, payload};
use super::reply::{Answer, Ctx, CtxFilter, json, name_in_path};

/// The routes under `/subscriptions`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let list = warp::path::end().and(warp::get()).and(ctx.clone()).then(list);
    let parked = warp::path!(String / "parked").and(warp::get()).and(ctx.clone()).then(parked);
    let replay =
        warp::path!(String / "replay").and(warp::post()).and(ctx.clone()).and(payload()).then(replay);
    warp::path("subscriptions").and(any_of!(list, parked, replay)).boxed()
}

async fn list(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.api.subscriptions().await?)
}

async fn parked(name: String, ctx: Ctx) -> Answer {
    let name = name_in_path("subscription", &name)?;
    let query = &ctx.call.query;
    json(StatusCode::OK, &ctx.api.parked(&name, query.after()?, query.limit()?).await?)
}

async fn replay(name: String, ctx: Ctx, body: Payload) -> Answer {
    let name = name_in_path("subscription", &name)?;
    let position = ctx.call.query.number("position")?.map(Position);
    body.nothing(&ctx.call.headers).await?;
    let replayed = ctx.api.replay(&name, position).await?;
    json(StatusCode::OK, &json!({"name": name, "handled": replayed.handled, "failed": replayed.failed}))
}
