//! Routes about the node itself: alive, ready, figures, status.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::json;
use warp::filters::BoxedFilter;
use warp::{Filter, Reply};

use super::any_of;
use super::limits::RETRY_AFTER_SECS;
use super::metrics::{self, Metrics};
use super::reply::{Answer, Ctx, CtxFilter, json};

/// The routes outside the API's base.
pub(super) fn root_routes(ctx: &CtxFilter, metrics: &Arc<Metrics>) -> BoxedFilter<(Answer,)> {
    // alive means that this answers: it asks nothing else
    let health = warp::path!("health").and(warp::get()).and(ctx.clone()).then(health);
    let ready = warp::path!("ready").and(warp::get()).and(ctx.clone()).then(ready);
    let metrics = Arc::clone(metrics);
    let scrape = warp::path!("metrics")
        .and(warp::get())
        .and(ctx.clone())
        .then(move |ctx| scrape(ctx, Arc::clone(&metrics)));
    any_of!(health, ready, scrape)
}

/// The route `/status` under the API's base.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    warp::path!("status").and(warp::get()).and(ctx.clone()).then(status).boxed()
}

async fn health(_: Ctx) -> Answer {
    let body = json!({"status": "ok", "service": "flexcore", "version": env!("CARGO_PKG_VERSION")});
    json(StatusCode::OK, &body)
}

async fn ready(ctx: Ctx) -> Answer {
    let node = ctx.status().await?;
    let (code, word) = match node.ready {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let mut response = json(code, &json!({"status": word, "dependencies": node.dependencies}))?;
    if !node.ready {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
    }
    Ok(response)
}

async fn scrape(ctx: Ctx, metrics: Arc<Metrics>) -> Answer {
    let mut response = metrics.render(&ctx.status().await?).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}

async fn status(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.status().await?)
}
