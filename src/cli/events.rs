//! `events`: the event store, read or followed. Never in here: what an event means.

use serde_json::Value;

use super::args_resources::EventsArgs;
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::{field, printable};
use super::lists::{items, read_list, write_list};
use super::output::{Format, Terminal};
use super::sse::{self, Then};
use super::table::Table;

/// Longest shown piece of an event's data, characters.
const MAX_DATA: usize = 80;

/// Prints events in the order of the store; with `--follow` until Ctrl-C.
///
/// # Errors
/// What the node refuses; while following, only what waiting does not cure.
pub async fn events(client: &Client, terminal: &mut Terminal, args: EventsArgs) -> Result<(), Failure> {
    let json = args.list.output.output == Format::Json;
    if !args.follow {
        let answer = page(client, &args).await?;
        if json {
            return terminal.json(&answer);
        }
        let mut table = Table::new(&[">POSITION", "TIME", "STREAM", ">VERSION", "TYPE", "DATA"]);
        for event in items(&answer) {
            table.row([
                field(event, "/position"),
                field(event, "/timestamp"),
                field(event, "/stream"),
                field(event, "/version"),
                field(event, "/type"),
                short(&event["data"]),
            ]);
        }
        return write_list(terminal, &answer, &table);
    }
    let followed = follow(client, terminal, &args, json);
    tokio::select! {
        broken = followed => broken,
        // it has no other end
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(
    client: &Client,
    terminal: &mut Terminal,
    args: &EventsArgs,
    json: bool,
) -> Result<(), Failure> {
    let mut query = String::new();
    for (name, value) in filters(args) {
        if let Some(value) = value {
            query += &format!("&{name}={}", escaped(value));
        }
    }
    let at = |position: u64| format!("/events/stream?after={position}{query}");
    sse::follow(client, terminal, args.after, None, at, |terminal, message| {
        // the node says why it ends the stream; it is opened again
        if message.event != "end" {
            let line = match serde_json::from_str(&message.data) {
                Ok(event) if !json => one_line(&event),
                _ => message.data,
            };
            terminal.line(&line)?;
        }
        Ok(Then::GoOn)
    })
    .await
}

fn filters(args: &EventsArgs) -> [(&'static str, Option<&String>); 2] {
    [("aggregate_id", args.stream.as_ref()), ("event_type", args.event_type.as_ref())]
}

async fn page(client: &Client, args: &EventsArgs) -> Result<Value, Failure> {
    let filters = filters(args).map(|(name, value)| (name, value.map(String::as_str)));
    read_list(client, "/events", &filters, Some(args.after), args.list.limit).await
}

/// An event while following: columns of fixed width, since what comes next is not known.
fn one_line(event: &Value) -> String {
    format!(
        "{:>9}   {:<30}   {:<26}   {:<48}   {}",
        field(event, "/position"),
        field(event, "/timestamp"),
        field(event, "/type"),
        printable(&format!("{}@{}", field(event, "/stream"), field(event, "/version"))),
        short(&event["data"]),
    )
}

fn short(data: &Value) -> String {
    let text = data.to_string();
    if text.chars().count() <= MAX_DATA {
        return text;
    }
    let cut: String = text.chars().take(MAX_DATA).collect();
    format!("{cut}…")
}
