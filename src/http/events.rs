//! `GET /events`: the event store, read in its order, followed (see `stream.rs`) or exported (see `export.rs`).

use std::sync::Arc;

use flexcore_actors::runtime::api::EventQuery;
use http::StatusCode;
use tokio::sync::Semaphore;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::problem::Problem;
use super::query::Query;
use super::reply::{Answer, Ctx, CtxFilter, json};
use super::{export, stream};

/// The routes under `/events`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let list = warp::path!("events").and(warp::get()).and(ctx.clone()).then(list);
    let places = stream::places();
    let follow = warp::path!("events" / "stream")
        .and(warp::get())
        .and(ctx.clone())
        .then(move |ctx| follow(ctx, Arc::clone(&places)));
    let exports = export::places();
    let export = warp::path!("events" / "export")
        .and(warp::get())
        .and(ctx.clone())
        .then(move |ctx| export::export(ctx, Arc::clone(&exports)));
    any_of!(list, follow, export)
}

async fn follow(ctx: Ctx, places: Arc<Semaphore>) -> Answer {
    let query = read(&ctx.call.query)?;
    stream::follow(ctx, query, places).await
}

async fn list(ctx: Ctx) -> Answer {
    let query = read(&ctx.call.query)?;
    json(StatusCode::OK, &ctx.settled(|| ctx.api.events(query.clone())).await?)
}

fn read(query: &Query) -> Result<EventQuery, Problem> {
    Ok(EventQuery {
        after: query.after()?,
        stream: query.parsed("aggregate_id")?,
        event_type: query.text("event_type").map(str::to_owned),
        from: query.parsed("from_timestamp")?,
        to: query.parsed("to_timestamp")?,
        limit: query.limit()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        let given =
            read(&Query::read(Some("aggregate_id=plugin-p&event_type=PluginEnabled&after=7&limit=5")));
        let given = given.unwrap();
        assert_eq!(given.stream.unwrap().as_str(), "plugin-p");
        assert_eq!((given.event_type.as_deref(), given.after.0, given.limit), (Some("PluginEnabled"), 7, 5));
        for bad in ["aggregate_id=p", "from_timestamp=1", "to_timestamp=x", "after=-1", "limit=1001"] {
            assert_eq!(read(&Query::read(Some(bad))).unwrap_err().status(), 400, "{bad}");
        }
    }
}
