//! `executions`. Never in here: starting one.

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::args_resources::{ExecutionsCommand, ExecutionsListArgs, NameArgs, ShowArgs};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::{age, between, bytes, field, grouped, span};
use super::lists::{items, read_list, write_list};
use super::logs::logs;
use super::moment;
use super::output::{Format, Terminal, tone_of};
use super::table::Table;
use super::wire::{Attempt, Execution};

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
        ExecutionsCommand::Cancel(args) => change(client, terminal, args, "cancel").await,
        ExecutionsCommand::Pause(args) => change(client, terminal, args, "pause").await,
        ExecutionsCommand::Resume(args) => change(client, terminal, args, "resume").await,
        ExecutionsCommand::Logs(args) => logs(client, terminal, args).await,
    }
}

async fn list(client: &Client, terminal: &mut Terminal, args: ExecutionsListArgs) -> Result<(), Failure> {
    let filters = [
        ("pipeline", args.pipeline.as_deref()),
        ("plugin", args.plugin.as_deref()),
        ("status", args.status.as_deref()),
    ];
    let answer = read_list(client, "/executions", &filters, None, args.list.limit).await?;
    if args.list.output.output == Format::Json {
        return terminal.json(&answer);
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["ID", "RUNS", "STATUS", ">RECORDS", ">TOOK", ">AGE", "CAUSE"]);
    for item in items(&answer) {
        let execution = Execution::from_json(item);
        table.row([
            execution.id.clone(),
            execution.subject().to_owned(),
            execution.status.clone(),
            grouped(execution.records()),
            took(item, "/started_at", now),
            age(&execution.queued_at, now),
            execution.cause.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    write_list(terminal, &answer, &table)
}

async fn show(client: &Client, terminal: &mut Terminal, args: ShowArgs) -> Result<(), Failure> {
    let answer = client.get(&moment::path("executions", &args)).await?;
    if args.output.output == Format::Json {
        return terminal.json(&answer);
    }
    let execution = Execution::from_json(&answer);
    let now = moment::of_execution(&args, &answer, &execution);
    let cause = execution.cause.as_ref().map(ToString::to_string).unwrap_or_default();
    for (label, text) in [
        ("Id", execution.id.clone()),
        ("Runs", execution.subject().to_owned()),
        ("Status", execution.status.clone()),
        ("Cause", cause),
        ("Revision", field(&answer, "/revision")),
        ("Node", field(&answer, "/node")),
        ("Queued", execution.queued_at.clone()),
        ("Took", took(&answer, "/started_at", now)),
    ] {
        terminal.line(format!("{:<9} {text}", format!("{label}:")).trim_end())?;
    }
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
        grouped(attempt.records_seen()),
        bytes(attempt.bytes),
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
    args: NameArgs,
    action: &str,
) -> Result<(), Failure> {
    let path = format!("/executions/{}", escaped(&args.name));
    client.send(Method::POST, &format!("{path}/{action}"), None).await?;
    let answer = client.get(&path).await?;
    let status = field(&answer, "/status");
    let asked = if answer["cancel_requested"] == true && status != "cancelled" {
        ", its cancel is recorded"
    } else {
        ""
    };
    let status = terminal.tinted(&status, tone_of(&status));
    terminal.line(&format!("execution {} is {status}{asked}", args.name))
}
