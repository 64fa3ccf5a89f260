//! Routes about API tokens: made, listed and revoked by who may. A token is shown once, by the answer that made it.

use std::time::Duration;

use flexcore_actors::domain::access::{Role, TokenId};
use flexcore_actors::domain::quantity::parse_duration;
use http::StatusCode;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;

use crate::access::TokenError;

use super::any_of;
use super::body::{Payload, payload, strictly};
use super::problem::{Kind, Problem};
use super::reply::{Answer, Ctx, CtxFilter, json};

/// The routes under `/tokens`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let list = warp::path::end().and(warp::get()).and(ctx.clone()).then(list);
    let create = warp::path::end().and(warp::post()).and(ctx.clone()).and(payload()).then(create);
    let revoke_named = warp::path::end().and(warp::delete()).and(ctx.clone()).then(revoke_named);
    let revoke_one = warp::path!(String).and(warp::delete()).and(ctx.clone()).then(revoke);
    warp::path("tokens").and(any_of!(list, create, revoke_named, revoke_one)).boxed()
}

async fn list(ctx: Ctx) -> Answer {
    let page = ctx.call.query.page()?;
    let after = page.cursor.map(|cursor| cursor.parse::<TokenId>());
    let after = after.transpose().map_err(|why| Problem::parameter("cursor", why))?;
    let (tokens, next) = ctx.access.list(after, page.limit).await.map_err(problem)?;
    json(StatusCode::OK, &json!({"items": tokens, "next_cursor": next.map(|id| id.to_string())}))
}

async fn create(ctx: Ctx, body: Payload) -> Answer {
    let body = body.json(&ctx.call.headers).await?;
    let (role, valid_for) = read(&body)?;
    let key = ctx.call.context()?.command_id.map(|id| id.0);
    let created = ctx.access.create(key, role, valid_for, &ctx.call.actor()).await.map_err(problem)?;
    let mut answer = serde_json::to_value(&created.token).unwrap_or_default();
    answer["token"] = created.text.into();
    json(StatusCode::CREATED, &answer)
}

fn read(body: &Value) -> Result<(Role, Option<Duration>), Problem> {
    strictly(body, |body| {
        let role = body.required_text("role").parse::<Role>();
        let role = role.map_err(|why| body.problem("role", why)).unwrap_or(Role::Viewer);
        let time = body.text("expires").map(parse_duration).transpose();
        (role, time.map_err(|why| body.problem("expires", why)).unwrap_or_default())
    })
}

async fn revoke_named(ctx: Ctx) -> Answer {
    let missing = || Problem::parameter("id", "id is required: the id of the token");
    let id = ctx.call.query.text("id").ok_or_else(missing)?.to_owned();
    revoke(id, ctx).await
}

async fn revoke(id: String, ctx: Ctx) -> Answer {
    let unknown = || Problem::not_found("token", &id);
    let token = id.parse::<TokenId>().map_err(|_| unknown())?;
    if ctx.access.revoke(token).await.map_err(problem)? {
        return json(StatusCode::OK, &json!({"id": token.to_string(), "revoked": true}));
    }
    Err(unknown())
}

fn problem(error: TokenError) -> Problem {
    match error {
        TokenError::Validity => Problem::field("expires", error.to_string()),
        TokenError::Made => Problem::new(Kind::Conflict, error.to_string()),
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "tokens cannot be used");
            Problem::unavailable("the store of tokens does not answer")
        }
    }
}
