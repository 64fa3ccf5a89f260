//! `POST /commands`: any command in one shape, for programs that speak of aggregates rather than of resources.

use std::fmt::Display;
use std::str::FromStr;

use flexcore_actors::domain::ids::CommandId;
use flexcore_actors::domain::reader::Object;
use flexcore_actors::runtime::api::{Command, CommandKind};
use http::StatusCode;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::body::{Payload, free_object, payload, strictly};
use super::call::{CORRELATION, Correlation};
use super::problem::Problem;
use super::reply::{Answer, Ctx, CtxFilter, json};

/// The route `/commands`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    warp::path!("commands").and(warp::post()).and(ctx.clone()).and(payload()).then(submit).boxed()
}

async fn submit(ctx: Ctx, body: Payload) -> Answer {
    let body = body.json(&ctx.call.headers).await?;
    // before the rest of it is judged
    if let Some(kind) = body["command_type"].as_str().and_then(|text| text.parse::<CommandKind>().ok()) {
        ctx.call.may(kind.needs(), kind.as_str())?;
    }
    let request = Request::read(&body)?;
    let mut context = ctx.call.context()?;
    context.command_id = request.command_id.or(context.command_id);
    if let Some(correlation) = &request.correlation {
        context.correlation_id = correlation.id;
    }
    let Request { kind, aggregate_id, payload, .. } = request;
    let accepted = ctx.carry_out(Command { kind, aggregate_id, payload, context }).await?;
    let mut result = serde_json::to_value(&accepted).unwrap_or_default();
    let command_id = result.as_object_mut().and_then(|fields| fields.shift_remove("command_id"));
    let body = json!({"command_id": command_id, "status": "completed", "result": result});
    let mut response = json(StatusCode::OK, &body)?;
    if let Some(correlation) = request.correlation {
        response.headers_mut().insert(CORRELATION, correlation.text);
    }
    Ok(response)
}

#[derive(Debug)]
struct Request {
    kind: CommandKind,
    command_id: Option<CommandId>,
    aggregate_id: String,
    payload: Value,
    correlation: Option<Correlation>,
}

impl Request {
    fn read(body: &Value) -> Result<Self, Problem> {
        let (kind, command_id, aggregate_id, payload, metadata) = strictly(body, |body| {
            let kind = body.required_text("command_type");
            let kind = checked(body, "command_type", Some(kind.as_str()).filter(|text| !text.is_empty()));
            let command_id = body.text("command_id");
            let command_id = checked(body, "command_id", command_id);
            let aggregate_id = body.text("aggregate_id").unwrap_or_default().to_owned();
            (kind, command_id, aggregate_id, free_object(body, "payload"), free_object(body, "metadata"))
        })?;
        let correlation = match metadata.get("correlation_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(Correlation::of("metadata.correlation_id", text.as_bytes())?),
            Some(_) => return Err(Problem::field("metadata.correlation_id", "expected a text")),
        };
        let kind = kind.ok_or_else(|| Problem::field("command_type", "command_type is required"))?;
        Ok(Self { kind, command_id, aggregate_id, payload, correlation })
    }
}

fn checked<T>(body: &Object<'_>, key: &'static str, text: Option<&str>) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    text?.parse().map_err(|error: T::Err| body.problem(key, error.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_whole() {
        let body = json!({
            "command_type": "StartPipeline", "command_id": "0198c0de-0000-7000-8000-000000000001",
            "aggregate_id": "p", "payload": {"parameters": {}}, "metadata": {"correlation_id": "c", "team": "x"},
        });
        let request = Request::read(&body).unwrap();
        assert_eq!((request.kind, request.aggregate_id.as_str()), (CommandKind::StartPipeline, "p"));
        assert_eq!(request.payload, json!({"parameters": {}}));
        assert_eq!(request.correlation.unwrap().as_str(), "c");
        assert_eq!(request.command_id.unwrap().to_string(), "0198c0de-0000-7000-8000-000000000001");
        let least = Request::read(&json!({"command_type": "ActivatePipeline"})).unwrap();
        assert_eq!((least.command_id, least.payload), (None, Value::Null));
    }

    #[test]
    fn every_problem_is_named() {
        let body = json!({"command_type": "Explode", "command_id": "7", "agregate_id": "p", "payload": []});
        let problem = Request::read(&body).unwrap_err();
        assert_eq!(problem.status(), 422);
        let text = format!("{problem:?}");
        for part in ["StartPipeline", "\"command_id\"", "did you mean \\\"aggregate_id\\\"?", "an object"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(Request::read(&json!({})).unwrap_err().status(), 422);
        let bad = json!({"command_type": "PausePipeline", "metadata": {"correlation_id": 7}});
        assert_eq!(Request::read(&bad).unwrap_err().status(), 422);
    }
}
