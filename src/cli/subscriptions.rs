//! `subscriptions`: what reacts to events, and the events it could not handle. Never in here: reacting to anything.

use http::Method;

use super::args_resources::{ListArgs, SubscriptionsCommand};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::{field, printable};
use super::lists::{items, read_list, write_list};
use super::output::{Format, Terminal};
use super::table::Table;

/// Does a `subscriptions` command.
///
/// # Errors
/// What the node refuses; a replay in which events failed again.
pub async fn subscriptions(
    client: &Client,
    terminal: &mut Terminal,
    command: SubscriptionsCommand,
) -> Result<(), Failure> {
    match command {
        SubscriptionsCommand::List(output) => {
            let answer = client.get("/subscriptions").await?;
            if output.output == Format::Json {
                return terminal.json(&answer);
            }
            let mut table = Table::new(&["NAME", ">POSITION", ">BEHIND", ">PARKED", "NODE", "UPDATED"]);
            for row in items(&answer) {
                let fields = ["/name", "/position", "/behind", "/parked", "/owner", "/updated_at"];
                table.row(fields.map(|name| field(row, name)));
            }
            terminal.table(&table)
        }
        SubscriptionsCommand::Parked { name, list } => {
            parked(client, terminal, &format!("/subscriptions/{}/parked", escaped(&name)), &list).await
        }
        SubscriptionsCommand::Replay { name, position } => replay(client, terminal, &name, position).await,
    }
}

/// Shows the parked events that a path lists.
///
/// # Errors
/// What the node refuses.
pub(super) async fn parked(
    client: &Client,
    terminal: &mut Terminal,
    path: &str,
    list: &ListArgs,
) -> Result<(), Failure> {
    let answer = read_list(client, path, &[], None, list.limit).await?;
    if list.output.output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table = Table::new(&[">POSITION", ">ATTEMPTS", "PARKED", "ERROR"]);
    for row in items(&answer) {
        table.row([
            field(row, "/position"),
            field(row, "/attempts"),
            field(row, "/parked_at"),
            printable(row["error"].as_str().unwrap_or_default()),
        ]);
    }
    write_list(terminal, &answer, &table)
}

async fn replay(
    client: &Client,
    terminal: &mut Terminal,
    name: &str,
    position: Option<u64>,
) -> Result<(), Failure> {
    let only = position.map(|position| format!("?position={position}")).unwrap_or_default();
    let path = format!("/subscriptions/{}/replay{only}", escaped(name));
    let answer = client.send(Method::POST, &path, None).await?;
    let count = |what: &str| answer[what].as_u64().unwrap_or_default();
    terminal.line(&format!("{} handled, {} failed again", count("handled"), count("failed")))?;
    if count("failed") == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!("{} of the events failed again and stay parked", count("failed")))
        .hint(format!("read why with: flexcore subscriptions parked {name}")))
}
