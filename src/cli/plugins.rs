//! `plugins`. Never in here: running one.

use http::Method;
use serde_json::Value;

use super::args_resources::{ListArgs, NameArgs, PluginsCommand, ShowArgs};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::field;
use super::lists::{items, read_list, write_list};
use super::moment;
use super::output::{Format, Terminal, tone_of};
use super::table::Table;

/// Does a `plugins` command.
///
/// # Errors
/// What the node refuses.
pub async fn plugins(
    client: &Client,
    terminal: &mut Terminal,
    command: PluginsCommand,
) -> Result<(), Failure> {
    match command {
        PluginsCommand::List(args) => list(client, terminal, args).await,
        PluginsCommand::Show(args) => show(client, terminal, args).await,
        PluginsCommand::Enable(args) => change(client, terminal, args, "enable").await,
        PluginsCommand::Disable(args) => change(client, terminal, args, "disable").await,
    }
}

async fn list(client: &Client, terminal: &mut Terminal, args: ListArgs) -> Result<(), Failure> {
    let answer = read_list(client, "/plugins", &[], None, args.limit).await?;
    if args.output.output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table = Table::new(&[
        "NAME",
        "VERSION",
        "TYPE",
        "PROTOCOL",
        "STATUS",
        "HEALTH",
        ">RUNNING",
        ">COMPLETED",
        ">FAILED",
    ]);
    for item in items(&answer) {
        table.row([
            field(item, "/name"),
            field(item, "/version"),
            field(item, "/type"),
            field(item, "/protocol"),
            field(item, "/status"),
            field(item, "/health"),
            field(item, "/executions/running"),
            field(item, "/executions/completed"),
            field(item, "/executions/failed"),
        ]);
    }
    write_list(terminal, &answer, &table)
}

async fn show(client: &Client, terminal: &mut Terminal, args: ShowArgs) -> Result<(), Failure> {
    let answer = client.get(&moment::path("plugins", &args)).await?;
    if args.output.output == Format::Json {
        return terminal.json(&answer);
    }
    for (label, pointer) in [
        ("Name", "/name"),
        ("Version", "/version"),
        ("Type", "/type"),
        ("Protocol", "/protocol"),
        ("Status", "/status"),
        ("Health", "/health"),
        ("Executions", "/executions/total"),
        ("Completed", "/executions/completed"),
        ("Failed", "/executions/failed"),
        ("Running", "/executions/running"),
        ("Last error", "/last_error/message"),
    ] {
        terminal.line(format!("{:<13} {}", format!("{label}:"), field(&answer, pointer)).trim_end())?;
    }
    for (label, key) in [("Capabilities", "capabilities"), ("Limits", "limits")] {
        terminal.line(&format!("{label}:"))?;
        for (name, value) in answer[key].as_object().into_iter().flatten() {
            let value = if let Value::String(text) = value { text.clone() } else { value.to_string() };
            terminal.line(&format!("  {:<11} {value}", format!("{name}:")))?;
        }
    }
    Ok(())
}

async fn change(
    client: &Client,
    terminal: &mut Terminal,
    args: NameArgs,
    action: &str,
) -> Result<(), Failure> {
    let path = format!("/plugins/{}", escaped(&args.name));
    client.send(Method::POST, &format!("{path}/{action}"), None).await?;
    let status = field(&client.get(&path).await?, "/status");
    let status = terminal.tinted(&status, tone_of(&status));
    terminal.line(&format!("plugin {} is {status}", args.name))
}
