//! `/inspect`: the operator's view of the actors. Everything is read from counters beside the actors, so that a
//! stuck one can be seen and never holds up the one who looks.

use flexcore_actors::domain::ids::{Category, Name, StreamId};
use flexcore_actors::runtime::api::{ApiError, CommandKind, EventQuery, PageRequest};
use flexcore_actors::runtime::views::{ActorView, Page, PluginView};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::body::{Payload, payload};
use super::limits::{MAX_PAGE, QUARANTINE_PAGES, STATUS_TIMEOUT};
use super::problem::Problem;
use super::reply::{Answer, Ctx, CtxFilter, changed, json};

/// The routes under `/inspect`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let get = |ctx: &CtxFilter| warp::get().and(ctx.clone());
    let actors = warp::path!("actors").and(get(ctx)).then(actors);
    let top = warp::path!("actors" / "top").and(get(ctx)).then(top);
    let aggregate = warp::path!("aggregates" / String).and(get(ctx)).then(aggregate);
    let quarantine = warp::path!("quarantine").and(get(ctx)).then(quarantine);
    let release = warp::path!("quarantine" / String / "release")
        .and(warp::post())
        .and(ctx.clone())
        .and(payload())
        .then(release);
    let cluster = warp::path!("cluster").and(get(ctx)).then(cluster);
    let shards = warp::path!("shards").and(get(ctx)).then(shards);
    warp::path("inspect").and(any_of!(actors, top, aggregate, quarantine, release, cluster, shards)).boxed()
}

async fn actors(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.api.actors())
}

async fn cluster(ctx: Ctx) -> Answer {
    let seen = ctx.api.cluster();
    let database = ctx.status().await?.dependencies.remove("event_store");
    let body = json!({
        "node": seen.node, "revision": seen.revision, "nodes": seen.members, "singletons": seen.singletons,
        "unowned_shards": seen.unowned_shards, "own_shards": seen.own_shards, "handoffs": seen.handoffs,
        "guard_left_ms": seen.guard_left_ms, "renewed_ms_ago": seen.renewed_ms_ago,
        "redis": {"status": if seen.hints_connected { "up" } else { "down" }},
        "database": database,
    });
    json(StatusCode::OK, &body)
}

async fn shards(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &json!({"items": ctx.api.shards(), "next_cursor": null}))
}

async fn top(ctx: Ctx) -> Answer {
    let by = ctx.call.query.word("by", &["mailbox", "busy", "restarts"])?.unwrap_or("mailbox");
    let items = busiest(ctx.api.actors(), by, ctx.call.query.limit()?);
    json(StatusCode::OK, &json!({"by": by, "items": items, "next_cursor": null}))
}

async fn aggregate(stream: String, ctx: Ctx) -> Answer {
    let stream = stream_in_path(&stream)?;
    if let Some(actor) = ctx.api.aggregate(&stream) {
        let mut body = serde_json::to_value(actor).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("stream".to_owned(), json!(stream));
            fields.insert("in_memory".to_owned(), json!(true));
        }
        return json(StatusCode::OK, &body);
    }
    // not in memory: the store says whether there is such a thing, without waking it
    let query = EventQuery { stream: Some(stream.clone()), limit: 1, ..EventQuery::default() };
    if ctx.api.events(query).await?.items.is_empty() {
        return Err(Problem::not_found("stream", stream.as_str()));
    }
    let kind = stream.category().as_str();
    json(StatusCode::OK, &json!({"stream": stream, "in_memory": false, "kind": kind, "state": "passivated"}))
}

async fn quarantine(ctx: Ctx) -> Answer {
    let actors = flat(ctx.api.actors()).into_iter().filter(|actor| actor.state == "quarantined");
    let mut items: Vec<Value> = actors
        .map(|actor| {
            let error = actor.last_error.map(|message| json!({"message": message}));
            json!({"stream": actor.id, "what": "actor", "last_error": error})
        })
        .collect();
    // circuits are read from the list of plugins: a store that is away must not hide what the counters show
    let incomplete = match timeout(STATUS_TIMEOUT, open_circuits(&ctx)).await {
        Ok(Ok(circuits)) => {
            items.extend(circuits);
            None
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("the plugins did not answer within {} s", STATUS_TIMEOUT.as_secs())),
    };
    json(StatusCode::OK, &json!({"items": items, "next_cursor": null, "incomplete": incomplete}))
}

async fn open_circuits(ctx: &Ctx) -> Result<Vec<Value>, ApiError> {
    let mut circuits = Vec::new();
    let mut page = PageRequest { cursor: None, limit: MAX_PAGE };
    for _ in 0..QUARANTINE_PAGES {
        let plugins: Page<PluginView> = ctx.api.plugins(None, page.clone()).await?;
        circuits.extend(plugins.items.iter().filter_map(|plugin| {
            let quarantine = plugin.quarantine.as_ref()?;
            let stream = StreamId::plugin(&plugin.name);
            Some(json!({
                "stream": stream, "what": "circuit", "last_error": quarantine.cause,
                "failures": quarantine.failures, "since": quarantine.since, "log_tail": quarantine.log_tail,
            }))
        }));
        page.cursor = plugins.next_cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    Ok(circuits)
}

async fn release(stream: String, ctx: Ctx, body: Payload) -> Answer {
    let stream = stream_in_path(&stream)?;
    body.nothing(&ctx.call.headers).await?;
    if stream.category() != Category::Plugin {
        if !ctx.api.release(&stream).await {
            return Err(ApiError::Conflict(format!(
                "{stream} is not in quarantine: there is nothing to release"
            ))
            .into());
        }
        return json(StatusCode::OK, &json!({"stream": stream, "released": true}));
    }
    let accepted = ctx.submit(CommandKind::ReleasePlugin, stream.id(), json!({})).await?;
    let name = Name::new(stream.id()).map_err(|_| Problem::not_found("plugin", stream.id()))?;
    changed(StatusCode::OK, &accepted, ctx.api.plugin(&name).await)
}

fn stream_in_path(text: &str) -> Result<StreamId, Problem> {
    text.parse().map_err(|_| Problem::not_found("stream", text))
}

/// The actors that lead by a figure, each without those it supervises.
fn busiest(root: ActorView, by: &str, limit: usize) -> Vec<ActorView> {
    let figure = |actor: &ActorView| match by {
        "busy" => actor.busy_ms,
        "restarts" => actor.restarts,
        _ => actor.mailbox,
    };
    let mut all = flat(root);
    all.sort_by_key(|actor| std::cmp::Reverse(figure(actor)));
    all.truncate(limit);
    all
}

/// A tree as a list, parents first.
fn flat(root: ActorView) -> Vec<ActorView> {
    let mut waiting = vec![root];
    let mut all = Vec::new();
    while let Some(mut actor) = waiting.pop() {
        waiting.extend(std::mem::take(&mut actor.children).into_iter().rev());
        all.push(actor);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(id: &str, mailbox: u64, restarts: u64, children: Vec<ActorView>) -> ActorView {
        ActorView {
            id: id.to_owned(),
            kind: "pipeline",
            state: "running",
            mailbox,
            busy_ms: mailbox * 10,
            handled: 0,
            restarts,
            last_error: None,
            version: None,
            epoch: None,
            node: "n".to_owned(),
            children,
        }
    }

    #[test]
    fn the_busiest_come_first() {
        let tree = || {
            let leaves = vec![actor("b", 5, 0, vec![actor("c", 1, 9, vec![])]), actor("d", 7, 1, vec![])];
            actor("a", 0, 0, leaves)
        };
        let ids = |by, limit| busiest(tree(), by, limit).into_iter().map(|a| a.id).collect::<Vec<_>>();
        assert_eq!(ids("mailbox", 10), ["d", "b", "c", "a"]);
        assert_eq!(ids("restarts", 2), ["c", "d"]);
        assert!(busiest(tree(), "busy", 9).iter().all(|a| a.children.is_empty()));
    }
}
