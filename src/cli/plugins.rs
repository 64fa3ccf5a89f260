//! `plugins`. Never in here: running one.

use http::Method;
use serde_json::Value;

use super::args_resources::{ListArgs, PluginsCommand, ShowArgs};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::{field, printable};
use super::output::Terminal;
use super::resource::{Resource, write_labelled};

const PLUGINS: Resource = Resource { kind: "plugin", path: "/plugins" };

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
        PluginsCommand::Enable(args) => {
            PLUGINS.change((client, terminal), &args.name, Method::POST, "/enable").await
        }
        PluginsCommand::Disable(args) => {
            PLUGINS.change((client, terminal), &args.name, Method::POST, "/disable").await
        }
        PluginsCommand::Release(args) => release(client, terminal, &args.name).await,
    }
}

async fn release(client: &Client, terminal: &mut Terminal, name: &str) -> Result<(), Failure> {
    let path = format!("/inspect/quarantine/plugin-{}/release", escaped(name));
    let answer = client.send(Method::POST, &path, None).await?;
    terminal.line(&format!("plugin {name} is {}", field(&answer, "/health")))
}

async fn list(client: &Client, terminal: &mut Terminal, args: ListArgs) -> Result<(), Failure> {
    let headings =
        ["NAME", "VERSION", "TYPE", "PROTOCOL", "STATUS", "HEALTH", ">RUNNING", ">COMPLETED", ">FAILED"];
    let row = |plugin: &Value| {
        [
            field(plugin, "/name"),
            field(plugin, "/version"),
            field(plugin, "/type"),
            field(plugin, "/protocol"),
            field(plugin, "/status"),
            field(plugin, "/health"),
            field(plugin, "/executions/running"),
            field(plugin, "/executions/completed"),
            field(plugin, "/executions/failed"),
        ]
    };
    PLUGINS.list((client, terminal), &[], args, headings, row).await
}

async fn show(client: &Client, terminal: &mut Terminal, args: ShowArgs) -> Result<(), Failure> {
    let Some(plugin) = PLUGINS.one(client, terminal, &args).await? else { return Ok(()) };
    let lines = [
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
    ];
    write_labelled(terminal, lines.map(|(label, pointer)| (label, field(&plugin, pointer))))?;
    if plugin["quarantine"].is_object() {
        write_quarantine(terminal, &plugin["quarantine"], name_of(&plugin))?;
    }
    for (label, key) in [("Capabilities", "capabilities"), ("Limits", "limits")] {
        terminal.line(&format!("{label}:"))?;
        for (name, value) in plugin[key].as_object().into_iter().flatten() {
            let value = if let Value::String(text) = value { text.clone() } else { value.to_string() };
            terminal.line(&format!("  {:<11} {value}", format!("{name}:")))?;
        }
    }
    Ok(())
}

fn name_of(plugin: &Value) -> &str {
    plugin["name"].as_str().unwrap_or_default()
}

/// Since when and why nothing of a plugin is started, what it said last, and how that ends.
fn write_quarantine(terminal: &mut Terminal, quarantine: &Value, name: &str) -> Result<(), Failure> {
    let (since, failures) = (field(quarantine, "/since"), field(quarantine, "/failures"));
    let why = field(quarantine, "/cause/message");
    terminal.line(&format!("Quarantined since {since}, after {failures} crashes, the last: {why}"))?;
    for line in quarantine["log_tail"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        terminal.line(&format!("  | {}", printable(line)))?;
    }
    terminal.line(&format!("  release it with: flexcore plugins release {name}"))
}
