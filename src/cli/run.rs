//! `run` and `exec`: start an execution, follow it, say how it ended. Never in here: how progress looks.

use http::Method;
use serde_json::{Map, Value, json};

use super::args::{ExecArgs, RunArgs};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::files::read_object;
use super::follow::follow;
use super::human::{between, field, grouped, span};
use super::output::{Terminal, tone_of};
use super::parameters::parameters_object;
use super::wire::Execution;

/// Starts an execution of a pipeline; without `--no-wait` follows it.
///
/// # Errors
/// When it cannot be started, is left, or does not complete.
pub async fn run(client: &Client, terminal: &mut Terminal, args: RunArgs) -> Result<(), Failure> {
    let pipeline = format!("/pipelines/{}", escaped(&args.pipeline));
    let declared = if args.parameters.is_empty() { Value::Null } else { client.get(&pipeline).await? };
    let kind_of = |name: &str| declared["parameters"][name]["type"].as_str().map(str::to_owned);
    let parameters = parameters_object(&args.parameters, kind_of).map_err(Failure::usage)?;
    let body = json!({"parameters": parameters, "from_scratch": args.from_scratch});
    let answer = client.send(Method::POST, &format!("{pipeline}/execute"), Some(&body)).await?;
    let id = started(&answer)?;
    if args.no_wait {
        return terminal.line(&id);
    }
    terminal.note(&format!("execution {id} of {}", args.pipeline));
    let value = follow(client, &id, terminal).await?;
    let execution = Execution::from_json(&value);
    let elapsed =
        execution.ended_at.as_deref().and_then(|end| between(&execution.queued_at, end.parse().ok()?));
    let status = terminal.tinted(&execution.status, tone_of(&execution.status));
    let records = execution.records().map(|records| format!(": {} records", grouped(records)));
    let (records, elapsed) = (records.unwrap_or_default(), span(elapsed.unwrap_or(0)));
    terminal.line(&format!("execution {id} {status}{records} in {elapsed}"))?;
    completed(&execution)
}

/// Runs one plugin and prints what it wrote as its result.
///
/// # Errors
/// As [`run`].
pub async fn exec(client: &Client, terminal: &mut Terminal, args: ExecArgs) -> Result<(), Failure> {
    let parameters = parameters_object(&args.parameters, |_| None).map_err(Failure::usage)?;
    let mut body = Map::from_iter([("parameters".to_owned(), parameters)]);
    if let Some(operation) = args.operation {
        body.insert("operation".to_owned(), operation.into());
    }
    if let Some(file) = &args.config {
        body.insert("config".to_owned(), read_object(file)?);
    }
    let path = format!("/plugins/{}/execute", escaped(&args.plugin));
    let answer = client.send(Method::POST, &path, Some(&Value::Object(body))).await?;
    let id = started(&answer)?;
    terminal.note(&format!("execution {id} of {}", args.plugin));
    let value = follow(client, &id, terminal).await?;
    let execution = Execution::from_json(&value);
    if !execution.result.is_null() {
        terminal.json(&execution.result)?;
    }
    completed(&execution)
}

fn started(answer: &Value) -> Result<String, Failure> {
    let id = field(answer, "/execution_id");
    if id.is_empty() {
        Err(Failure::failed("the node does not say which execution it started"))
    } else {
        Ok(id)
    }
}

fn completed(execution: &Execution) -> Result<(), Failure> {
    if execution.status == "completed" {
        return Ok(());
    }
    let id = &execution.id;
    let cause = execution.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    Err(Failure::failed(format!("execution {id} {}{cause}", execution.status))
        .hint(format!("see what its programs said with: flexcore executions logs {id}")))
}
