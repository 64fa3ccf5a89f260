//! What pipelines and plugins have in common as resources: list, create, read, replace, remove, and the commands
//! that move them from state to state. What is particular to one of them stands in its own file.

use std::future::Future;

use flexcore_actors::domain::ids::Name;
use flexcore_actors::domain::projection::View;
use flexcore_actors::runtime::api::{Api, ApiError, At, CommandKind, PageRequest};
use flexcore_actors::runtime::views::{Page, PipelineView, PluginView};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use warp::filters::BoxedFilter;
use warp::{Filter, Rejection};

use super::any_of;
use super::body::{Payload, payload};
use super::problem::Problem;
use super::reply::{Answer, Ctx, CtxFilter, Versioned, changed, json, name_in_path, resource, with_location};
use super::table::BASE;

/// A kind of definition.
pub(super) trait Definition: Serialize + Versioned + Send + Sized + 'static {
    /// `kind` in files.
    const KIND: &'static str;
    /// In errors.
    const NOUN: &'static str;
    /// In paths.
    const COLLECTION: &'static str;
    /// What lists are read from.
    const VIEW: View;
    /// The command of POST.
    const CREATE: CommandKind;
    /// The command of PUT.
    const REVISE: CommandKind;
    /// The command of DELETE.
    const REMOVE: CommandKind;

    /// Reads one.
    fn one(api: &Api, name: &Name) -> impl Future<Output = Result<Self, ApiError>> + Send;
    /// Reads one as it was.
    fn one_at(api: &Api, name: &Name, at: At) -> impl Future<Output = Result<Self, ApiError>> + Send;
    /// Reads many.
    fn many(api: &Api, page: PageRequest) -> impl Future<Output = Result<Page<Self>, ApiError>> + Send;
}

impl Definition for PipelineView {
    const KIND: &'static str = "Pipeline";
    const NOUN: &'static str = "pipeline";
    const COLLECTION: &'static str = "pipelines";
    const VIEW: View = View::Pipelines;
    const CREATE: CommandKind = CommandKind::CreatePipeline;
    const REVISE: CommandKind = CommandKind::RevisePipeline;
    const REMOVE: CommandKind = CommandKind::ArchivePipeline;

    async fn one(api: &Api, name: &Name) -> Result<Self, ApiError> {
        api.pipeline(name).await
    }

    async fn one_at(api: &Api, name: &Name, at: At) -> Result<Self, ApiError> {
        api.pipeline_at(name, at).await
    }

    async fn many(api: &Api, page: PageRequest) -> Result<Page<Self>, ApiError> {
        api.pipelines(page).await
    }
}

impl Definition for PluginView {
    const KIND: &'static str = "Plugin";
    const NOUN: &'static str = "plugin";
    const COLLECTION: &'static str = "plugins";
    const VIEW: View = View::Plugins;
    const CREATE: CommandKind = CommandKind::RegisterPlugin;
    const REVISE: CommandKind = CommandKind::RevisePlugin;
    const REMOVE: CommandKind = CommandKind::RetirePlugin;

    async fn one(api: &Api, name: &Name) -> Result<Self, ApiError> {
        api.plugin(name).await
    }

    async fn one_at(api: &Api, name: &Name, at: At) -> Result<Self, ApiError> {
        api.plugin_at(name, at).await
    }

    async fn many(api: &Api, page: PageRequest) -> Result<Page<Self>, ApiError> {
        api.plugins(None, page).await
    }
}

/// The routes within a collection; `verbs` are the POSTs that only move an item from state to state.
pub(super) fn routes<D: Definition>(
    ctx: &CtxFilter,
    verbs: &[(&'static str, CommandKind)],
) -> BoxedFilter<(Answer,)> {
    let item = warp::path!(String);
    let show = item.and(warp::get()).and(ctx.clone()).then(show::<D>);
    let list = warp::path::end().and(warp::get()).and(ctx.clone()).then(list::<D>);
    let create = warp::path::end().and(warp::post()).and(ctx.clone()).and(payload()).then(create::<D>);
    let replace = item.and(warp::put()).and(ctx.clone()).and(payload()).then(replace::<D>);
    let remove = item.and(warp::delete()).and(ctx.clone()).then(remove::<D>);
    let mut all = any_of!(show, list, create, replace, remove);
    for &(verb, kind) in verbs {
        let change = action(verb)
            .and(ctx.clone())
            .and(payload())
            .then(move |name, ctx, body| transition::<D>(kind, name, ctx, body));
        all = any_of!(all, change);
    }
    all
}

/// `POST …/{id}/<verb>`.
pub(super) fn action(verb: &'static str) -> impl Filter<Extract = (String,), Error = Rejection> + Clone {
    warp::path::param::<String>().and(warp::path(verb)).and(warp::path::end()).and(warp::post())
}

/// `GET …/{id}/<part>`.
pub(super) fn part(part: &'static str) -> impl Filter<Extract = (String,), Error = Rejection> + Clone {
    warp::path::param::<String>().and(warp::path(part)).and(warp::path::end()).and(warp::get())
}

async fn list<D: Definition>(ctx: Ctx) -> Answer {
    let page = ctx.call.query.page()?;
    ctx.reflected(D::VIEW).await?;
    json(StatusCode::OK, &D::many(&ctx.api, page).await?)
}

async fn show<D: Definition>(name: String, ctx: Ctx) -> Answer {
    let name = name_in_path(D::NOUN, &name)?;
    resource(&match ctx.call.query.at()? {
        Some(at) => D::one_at(&ctx.api, &name, at).await?,
        None => D::one(&ctx.api, &name).await?,
    })
}

async fn create<D: Definition>(ctx: Ctx, body: Payload) -> Answer {
    let definition = body.json(&ctx.call.headers).await?;
    is_of_kind(D::KIND, &definition)?;
    if ctx.call.query.flag("dry_run")? {
        return check(D::KIND, &ctx, definition).await;
    }
    let name = definition.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let accepted = ctx.submit(D::CREATE, name, definition).await?;
    let location = format!("{BASE}/{}/{}", D::COLLECTION, accepted.aggregate_id);
    let name = name_in_path(D::NOUN, &accepted.aggregate_id)?;
    let response = changed(StatusCode::CREATED, &accepted, D::one(&ctx.api, &name).await)?;
    Ok(with_location(response, &location))
}

async fn replace<D: Definition>(name: String, ctx: Ctx, body: Payload) -> Answer {
    let name = name_in_path(D::NOUN, &name)?;
    let definition = body.json(&ctx.call.headers).await?;
    is_of_kind(D::KIND, &definition)?;
    is_named(&name, &definition)?;
    let accepted = ctx.submit(D::REVISE, name.as_str(), definition).await?;
    changed(StatusCode::OK, &accepted, D::one(&ctx.api, &name).await)
}

async fn remove<D: Definition>(name: String, ctx: Ctx) -> Answer {
    let name = name_in_path(D::NOUN, &name)?;
    let accepted = ctx.submit(D::REMOVE, name.as_str(), json!({})).await?;
    changed(StatusCode::OK, &accepted, D::one(&ctx.api, &name).await)
}

async fn transition<D: Definition>(kind: CommandKind, name: String, ctx: Ctx, body: Payload) -> Answer {
    let name = name_in_path(D::NOUN, &name)?;
    body.nothing(&ctx.call.headers).await?;
    let accepted = ctx.submit(kind, name.as_str(), json!({})).await?;
    changed(StatusCode::OK, &accepted, D::one(&ctx.api, &name).await)
}

async fn check(kind: &'static str, ctx: &Ctx, mut definition: Value) -> Answer {
    if let Some(fields) = definition.as_object_mut() {
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    json(StatusCode::OK, &ctx.api.check(&definition).await?)
}

fn is_of_kind(kind: &'static str, definition: &Value) -> Result<(), Problem> {
    match definition.get("kind") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(given)) if given == kind => Ok(()),
        Some(_) => Err(Problem::field("kind", format!("expected {kind} here, or no kind"))),
    }
}

fn is_named(name: &Name, definition: &Value) -> Result<(), Problem> {
    match definition.get("name") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(given)) if given == name.as_str() => Ok(()),
        Some(_) => {
            let message = format!("the path names {name}: a name never changes, so give the same or none");
            Err(Problem::field("name", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_fits_its_path() {
        is_of_kind("Plugin", &json!({"kind": "Plugin"})).unwrap();
        is_of_kind("Plugin", &json!({})).unwrap();
        assert_eq!(is_of_kind("Plugin", &json!({"kind": "Pipeline"})).unwrap_err().status(), 422);
        let name = Name::new("p").unwrap();
        is_named(&name, &json!({"name": "p"})).unwrap();
        is_named(&name, &json!({})).unwrap();
        assert_eq!(is_named(&name, &json!({"name": "q"})).unwrap_err().status(), 422);
    }
}
