//! `POST /queries`: the queries of the contract in one shape. Parameters are named, and checked, as the filters of
//! the routes that ask the same.

use flexcore_actors::domain::ids::Name;
use http::StatusCode;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::body::{Payload, free_object, payload, strictly};
use super::executions;
use super::problem::Problem;
use super::query::Query;
use super::reply::{Answer, Ctx, CtxFilter, json};

/// A query of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    GetPipelineStatus,
    ListActivePlugins,
    GetExecutionHistory,
    GetSystemMetrics,
}

const KINDS: &[(&str, Kind)] = &[
    ("GetPipelineStatus", Kind::GetPipelineStatus),
    ("ListActivePlugins", Kind::ListActivePlugins),
    ("GetExecutionHistory", Kind::GetExecutionHistory),
    ("GetSystemMetrics", Kind::GetSystemMetrics),
];

impl Kind {
    const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::GetPipelineStatus => &["name"],
            Self::ListActivePlugins => &["limit", "cursor"],
            Self::GetExecutionHistory => {
                &["pipeline", "plugin", "status", "kind", "from", "to", "limit", "cursor"]
            }
            Self::GetSystemMetrics => &[],
        }
    }
}

/// The route `/queries`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    warp::path!("queries").and(warp::post()).and(ctx.clone()).and(payload()).then(ask).boxed()
}

async fn ask(ctx: Ctx, body: Payload) -> Answer {
    let (kind, query) = read(&body.json(&ctx.call.headers).await?)?;
    let result = match kind {
        Kind::GetPipelineStatus => {
            let missing = || Problem::field("parameters.name", "name is required: the pipeline's name");
            let name: Name = query.parsed("name").map_err(Problem::in_body)?.ok_or_else(missing)?;
            serde_json::to_value(ctx.api.pipeline(&name).await?)
        }
        Kind::ListActivePlugins => {
            let page = query.page().map_err(Problem::in_body)?;
            serde_json::to_value(ctx.api.plugins(Some("enabled"), page).await?)
        }
        Kind::GetExecutionHistory => {
            let filter = executions::filter(&query).map_err(Problem::in_body)?;
            let page = query.page().map_err(Problem::in_body)?;
            serde_json::to_value(ctx.api.executions(filter, page).await?)
        }
        Kind::GetSystemMetrics => serde_json::to_value(ctx.api.system_metrics().await?),
    };
    let name = KINDS.iter().find(|(_, known)| *known == kind).map(|(name, _)| *name);
    json(StatusCode::OK, &json!({"query_type": name, "result": result.unwrap_or_default()}))
}

fn read(body: &Value) -> Result<(Kind, Query), Problem> {
    let (kind, parameters) = strictly(body, |body| {
        let kind = body.word("query_type", KINDS);
        let parameters = free_object(body, "parameters");
        free_object(body, "metadata"); // the caller's own
        (kind, parameters)
    })?;
    let kind = kind.ok_or_else(|| Problem::field("query_type", "query_type is required"))?;
    let query = Query::of(&parameters).and_then(|query| query.check(kind.parameters()).map(|()| query));
    Ok((kind, query.map_err(Problem::in_body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_routes() {
        let body = json!({"query_type": "GetExecutionHistory", "parameters": {"pipeline": "p", "limit": 5}});
        let (kind, query) = read(&body).unwrap();
        assert_eq!(kind, Kind::GetExecutionHistory);
        assert_eq!(query.limit().unwrap(), 5);
        assert_eq!(executions::filter(&query).unwrap().pipeline.unwrap().as_str(), "p");
        assert_eq!(read(&json!({"query_type": "GetSystemMetrics"})).unwrap().0, Kind::GetSystemMetrics);
    }

    #[test]
    fn bad_queries_are_named() {
        for (bad, part) in [
            (json!({}), "query_type is required"),
            (json!({"query_type": "X"}), "GetPipelineStatus"),
            (json!({"query_type": "GetSystemMetrics", "parameters": {"a": 1}}), "parameters.a"),
            (json!({"query_type": "GetPipelineStatus", "parameters": {"nam": "p"}}), "did you mean"),
            (json!({"query_type": "GetPipelineStatus", "parameters": {"name": {}}}), "a text or a number"),
        ] {
            let problem = read(&bad).unwrap_err();
            assert_eq!(problem.status(), 422, "{bad}");
            assert!(format!("{problem:?}").contains(part), "{part} in {problem:?}");
        }
    }
}
