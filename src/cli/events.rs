//! `events`: the event store, read or followed. Never in here: what an event means.

use std::time::Duration;

use serde_json::Value;

use super::args_resources::EventsArgs;
use super::client::Client;
use super::failure::{Exit, Failure};
use super::human::{field, printable};
use super::lists::{items, read_list, write_list};
use super::output::{Format, Terminal};
use super::table::Table;

/// Between two looks for new events.
const POLL: Duration = Duration::from_millis(500);
/// Longest shown piece of an event's data, characters.
const MAX_DATA: usize = 80;

/// Prints events in the order of the store; with `--follow` until Ctrl-C.
///
/// # Errors
/// What the node refuses; while following, only what waiting does not cure.
pub async fn events(client: &Client, terminal: &mut Terminal, args: EventsArgs) -> Result<(), Failure> {
    let json = args.list.output.output == Format::Json;
    if !args.follow {
        let answer = page(client, &args, args.after).await?;
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
    let mut after = args.after;
    let mut away = false;
    loop {
        match page(client, &args, after).await {
            Ok(answer) => {
                away = false;
                for event in items(&answer) {
                    terminal.line(&if json { event.to_string() } else { one_line(event) })?;
                    after = event["position"].as_u64().unwrap_or(after);
                }
                if items(&answer).len() >= usize::try_from(args.list.limit).unwrap_or(usize::MAX) {
                    continue;
                }
            }
            Err(failure) if failure.exit == Exit::Unavailable => {
                if !away {
                    terminal.note("the node is away, waiting");
                }
                away = true;
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn page(client: &Client, args: &EventsArgs, after: u64) -> Result<Value, Failure> {
    let filters = [("aggregate_id", args.stream.as_deref()), ("event_type", args.event_type.as_deref())];
    read_list(client, "/events", &filters, Some(after), args.list.limit).await
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
