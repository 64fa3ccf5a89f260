//! `executions`. Never in here: starting one.

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::args_resources::{ExecutionsCommand, ExecutionsListArgs, NameArgs, ShowArgs};
use super::client::Client;
use super::failure::Failure;
use super::human::{age, between, bytes, field, grouped, span};
use super::logs::logs;
use super::moment;
use super::output::Terminal;
use super::resource::{Resource, write_labelled};
use super::table::Table;
use super::wire::{Attempt, Execution};

const EXECUTIONS: Resource = Resource { kind: "execution", path: "/executions" };

/// Does an `executions` command.
///
/// # Errors
/// What the node refuses.
pub async fn executions(
    client: &Client,
    terminal: &mut Terminal,
    command: ExecutionsCommand,
) -> Result<(), Failure> {
    match command {
        ExecutionsCommand::List(args) => list(client, terminal, args).await,
        ExecutionsCommand::Show(args) => show(client, terminal, args).await,
        ExecutionsCommand::Cancel(args) => change(client, terminal, &args, "/cancel").await,
        ExecutionsCommand::Pause(args) => change(client, terminal, &args, "/pause").await,
        ExecutionsCommand::Resume(args) => change(client, terminal, &args, "/resume").await,
        ExecutionsCommand::Logs(args) => logs(client, terminal, args).await,
    }
}

async fn list(client: &Client, terminal: &mut Terminal, args: ExecutionsListArgs) -> Result<(), Failure> {
    let filters = [
        ("pipeline", args.pipeline.as_deref()),
        ("plugin", args.plugin.as_deref()),
        ("status", args.status.as_deref()),
    ];
    let now = Timestamp::now();
    let headings = ["ID", "RUNS", "STATUS", ">RECORDS", ">TOOK", ">AGE", "CAUSE"];
    let row = |item: &Value| {
        let execution = Execution::from_json(item);
        [
            execution.id.clone(),
            execution.subject().to_owned(),
            execution.status.clone(),
            execution.records().map(grouped).unwrap_or_default(),
            took(item, "/started_at", now),
            age(&execution.queued_at, now),
            execution.cause.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    EXECUTIONS.list((client, terminal), &filters, args.list, headings, row).await
}

async fn show(client: &Client, terminal: &mut Terminal, args: ShowArgs) -> Result<(), Failure> {
    let Some(answer) = EXECUTIONS.one(client, terminal, &args).await? else { return Ok(()) };
    let execution = Execution::from_json(&answer);
    let now = moment::of_execution(&args, &answer, &execution);
    let cause = execution.cause.as_ref().map(ToString::to_string).unwrap_or_default();
    let lines = [
        ("Id", execution.id.clone()),
        ("Runs", execution.subject().to_owned()),
        ("Status", execution.status.clone()),
        ("Cause", cause),
        ("Revision", field(&answer, "/revision")),
        ("Node", field(&answer, "/node")),
        ("Queued", execution.queued_at.clone()),
        ("Took", took(&answer, "/started_at", now)),
    ];
    write_labelled(terminal, lines)?;
    terminal.line("")?;
    terminal.table(&attempts_table(&execution, now))
}

/// One row an attempt, with who waited for whom: that tells whether the tap or the target is slow.
fn attempts_table(execution: &Execution, now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "STEP",
        ">ATTEMPT",
        "STATUS",
        ">RECORDS",
        ">BYTES",
        ">TOOK",
        ">WAITED FOR SOURCE",
        ">WAITED FOR TARGET",
        ">PEAK MEMORY",
        "CAUSE",
    ]);
    for step in &execution.steps {
        if step.attempts.is_empty() {
            let none = String::new;
            table.row([
                step.name.clone(),
                none(),
                step.status.clone(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
                none(),
            ]);
        }
        for attempt in &step.attempts {
            table.row(attempt_row(&step.name, attempt, now));
        }
    }
    table
}

fn attempt_row(step: &str, attempt: &Attempt, now: Timestamp) -> [String; 10] {
    let end = attempt.ended_at.as_deref().and_then(|end| end.parse().ok()).unwrap_or(now);
    let memory = attempt.programs.iter().map(|program| program.usage.peak_memory_bytes).max().unwrap_or(0);
    [
        step.to_owned(),
        attempt.number.to_string(),
        attempt.status.clone(),
        attempt.records_seen().map(grouped).unwrap_or_default(),
        attempt.records_seen().map(|_| bytes(attempt.bytes)).unwrap_or_default(),
        between(&attempt.started_at, end).map(span).unwrap_or_default(),
        span(attempt.waits.upstream_ms),
        span(attempt.waits.downstream_ms),
        if memory == 0 { String::new() } else { bytes(memory) },
        attempt.cause.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

fn took(execution: &Value, start: &str, now: Timestamp) -> String {
    let end = field(execution, "/ended_at").parse().unwrap_or(now);
    between(&field(execution, start), end).map(span).unwrap_or_default()
}

async fn change(
    client: &Client,
    terminal: &mut Terminal,
    args: &NameArgs,
    action: &str,
) -> Result<(), Failure> {
    EXECUTIONS.change((client, terminal), &args.name, Method::POST, action).await
}
