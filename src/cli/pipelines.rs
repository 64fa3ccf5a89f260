//! `pipelines` and `bookmarks`. Never in here: starting executions.

use std::path::Path;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::args_resources::{BookmarksCommand, ListArgs, PipelinesCommand, ShowArgs};
use super::client::{Client, escaped};
use super::failure::{Exit, Failure};
use super::human::{age, field};
use super::lists::{items, read_list, write_list};
use super::moment;
use super::output::{Format, Terminal, tone_of};
use super::table::Table;

/// Does a `pipelines` command.
///
/// # Errors
/// What the node refuses.
pub async fn pipelines(
    client: &Client,
    terminal: &mut Terminal,
    command: PipelinesCommand,
) -> Result<(), Failure> {
    match command {
        PipelinesCommand::List(args) => list(client, terminal, args).await,
        PipelinesCommand::Show(args) => show(client, terminal, args).await,
        PipelinesCommand::Activate(args) => {
            change(client, terminal, &args.name, Method::POST, "/activate").await
        }
        PipelinesCommand::Pause(args) => change(client, terminal, &args.name, Method::POST, "/pause").await,
        PipelinesCommand::Resume(args) => change(client, terminal, &args.name, Method::POST, "/resume").await,
        PipelinesCommand::Archive(args) => change(client, terminal, &args.name, Method::DELETE, "").await,
    }
}

async fn list(client: &Client, terminal: &mut Terminal, args: ListArgs) -> Result<(), Failure> {
    let answer = read_list(client, "/pipelines", &[], None, args.limit).await?;
    if args.output.output == Format::Json {
        return terminal.json(&answer);
    }
    let now = Timestamp::now();
    let mut table =
        Table::new(&["NAME", "STATUS", ">REVISION", ">STEPS", "OWNER", "LAST EXECUTION", "CHANGED"]);
    for item in items(&answer) {
        table.row([
            field(item, "/name"),
            field(item, "/status"),
            field(item, "/revision"),
            item["steps"].as_array().map_or(0, Vec::len).to_string(),
            field(item, "/owner"),
            field(item, "/last_execution"),
            age(&field(item, "/updated_at"), now),
        ]);
    }
    write_list(terminal, &answer, &table)
}

async fn show(client: &Client, terminal: &mut Terminal, args: ShowArgs) -> Result<(), Failure> {
    let answer = client.get(&moment::path("pipelines", &args)).await?;
    if args.output.output == Format::Json {
        return terminal.json(&answer);
    }
    for (label, pointer) in [
        ("Name", "/name"),
        ("Description", "/description"),
        ("Owner", "/owner"),
        ("Status", "/status"),
        ("Revision", "/revision"),
        ("Priority", "/priority"),
        ("Last execution", "/last_execution"),
        ("Version", "/version"),
    ] {
        terminal.line(format!("{:<15} {}", format!("{label}:"), field(&answer, pointer)).trim_end())?;
    }
    terminal.line("")?;
    let mut table = Table::new(&["STEP", "RUNS", "DEPENDS ON", "WHEN"]);
    for step in answer["steps"].as_array().map(Vec::as_slice).unwrap_or_default() {
        table.row([
            field(step, "/name"),
            programs_of(step),
            joined(&step["depends_on"], Value::as_str),
            field(step, "/when"),
        ]);
    }
    terminal.table(&table)
}

/// `tap | target` of a pipe, the plugin of a single step.
fn programs_of(step: &Value) -> String {
    match step["pipe"].as_array() {
        Some(pipe) if !pipe.is_empty() => {
            pipe.iter().map(|program| field(program, "/plugin")).collect::<Vec<_>>().join(" | ")
        }
        _ => field(step, "/plugin"),
    }
}

fn joined<'v>(list: &'v Value, text: impl Fn(&'v Value) -> Option<&'v str>) -> String {
    list.as_array()
        .map_or_else(String::new, |items| items.iter().filter_map(text).collect::<Vec<_>>().join(", "))
}

async fn change(
    client: &Client,
    terminal: &mut Terminal,
    name: &str,
    method: Method,
    action: &str,
) -> Result<(), Failure> {
    let path = format!("/pipelines/{}", escaped(name));
    client.send(method, &format!("{path}{action}"), None).await?;
    let status = field(&client.get(&path).await?, "/status");
    let status = terminal.tinted(&status, tone_of(&status));
    terminal.line(&format!("pipeline {name} is {status}"))
}

/// Does a `bookmarks` command.
///
/// # Errors
/// What the node refuses, or a state that is no JSON.
pub async fn bookmarks(
    client: &Client,
    terminal: &mut Terminal,
    command: BookmarksCommand,
) -> Result<(), Failure> {
    match command {
        BookmarksCommand::Get { pipeline, step, output } => {
            let answer = client.get(&format!("/pipelines/{}/bookmarks", escaped(&pipeline))).await?;
            match step {
                Some(step) => {
                    let found = items(&answer).iter().find(|item| item["step"] == step.as_str());
                    let none = || {
                        Failure::new(Exit::NotFound, format!("step {step:?} of {pipeline} has no bookmark"))
                            .hint(format!("list them with: flexcore bookmarks get {pipeline}"))
                    };
                    terminal.json(&found.ok_or_else(none)?["state"])
                }
                None if output.output == Format::Json => terminal.json(&answer),
                None => terminal.table(&bookmark_table(&answer)),
            }
        }
        BookmarksCommand::Set { pipeline, step, state } => {
            let body = json!({"state": state_of(&state)?});
            client.send(Method::PUT, &bookmark_path(&pipeline, &step), Some(&body)).await?;
            terminal.line(&format!("bookmark of {pipeline}/{step} set"))
        }
        BookmarksCommand::Clear { pipeline, step } => {
            client.send(Method::DELETE, &bookmark_path(&pipeline, &step), None).await?;
            terminal.line(&format!("bookmark of {pipeline}/{step} cleared: its next run reads everything"))
        }
    }
}

fn bookmark_table(answer: &Value) -> Table {
    let now = Timestamp::now();
    let mut table = Table::new(&["STEP", "NAME", ">VERSION", "AGE", "EXECUTION", "STATE"]);
    for item in items(answer) {
        table.row([
            field(item, "/step"),
            field(item, "/name"),
            field(item, "/version"),
            age(&field(item, "/updated_at"), now),
            field(item, "/execution_id"),
            item["state"].to_string(),
        ]);
    }
    table
}

fn bookmark_path(pipeline: &str, step: &str) -> String {
    format!("/pipelines/{}/bookmarks/{}", escaped(pipeline), escaped(step))
}

fn state_of(text: &str) -> Result<Value, Failure> {
    if let Some(file) = text.strip_prefix('@') {
        return super::files::read_object(Path::new(file));
    }
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("--state is not JSON: {error}"))
            .hint("quote it for the shell: --state '{\"bookmarks\": …}'")
    })
}
