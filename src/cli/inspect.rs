//! `inspect`: the actors of a running node. Never in here: changing anything.

use serde_json::Value;

use super::args_resources::{InspectCommand, OutputArgs, TopBy};
use super::client::Client;
use super::failure::Failure;
use super::human::{field, grouped, span};
use super::lists::items;
use super::output::{Format, Terminal};
use super::table::Table;

/// Actors shown by `top`.
const TOP: u32 = 20;

/// Does an `inspect` command.
///
/// # Errors
/// What the node refuses.
pub async fn inspect(
    client: &Client,
    terminal: &mut Terminal,
    command: InspectCommand,
) -> Result<(), Failure> {
    match command {
        InspectCommand::Tree(OutputArgs { output }) => {
            let answer = client.get("/inspect/actors").await?;
            if output == Format::Json {
                return terminal.json(&answer);
            }
            let mut table = new_table();
            add(&mut table, &answer, "", "");
            terminal.table(&table)
        }
        InspectCommand::Cluster(OutputArgs { output }) => cluster(client, terminal, output).await,
        InspectCommand::Shards(OutputArgs { output }) => shards(client, terminal, output).await,
        InspectCommand::Quarantine(OutputArgs { output }) => quarantine(client, terminal, output).await,
        InspectCommand::Top { by, output } => top(client, terminal, by, output.output).await,
    }
}

async fn cluster(client: &Client, terminal: &mut Terminal, output: Format) -> Result<(), Failure> {
    let answer = client.get("/inspect/cluster").await?;
    if output == Format::Json {
        return terminal.json(&answer);
    }
    let singletons = || answer["singletons"].as_array().into_iter().flatten();
    let mut table =
        Table::new(&["NODE", "STATE", ">SHARDS", "DOES FOR ALL", "LABELS", "ADDRESS", "INCARNATION"]);
    for node in answer["nodes"].as_array().into_iter().flatten() {
        let does: Vec<&str> = singletons()
            .filter(|singleton| singleton["owner"] == node["name"] && node["shards"] != 0)
            .filter_map(|singleton| singleton["name"].as_str())
            .collect();
        let field = |pointer| field(node, pointer);
        let does = if does.is_empty() { "-".to_owned() } else { does.join(", ") };
        table.row([
            field("/name"),
            field("/state"),
            field("/shards"),
            does,
            labels(&node["labels"]),
            field("/address"),
            field("/incarnation"),
        ]);
    }
    terminal.table(&table)?;
    let (redis, database) = (field(&answer, "/redis/status"), field(&answer, "/database/status"));
    terminal.note(&format!("seen from {}: redis {redis}, database {database}", field(&answer, "/node")));
    Ok(())
}

/// Labels as a node is told them: `disk=ssd,zone=dmz`.
fn labels(labels: &Value) -> String {
    let pair = |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or_default());
    let pairs: Vec<String> = labels.as_object().into_iter().flatten().map(pair).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

async fn shards(client: &Client, terminal: &mut Terminal, output: Format) -> Result<(), Failure> {
    let answer = client.get("/inspect/shards").await?;
    if output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table = Table::new(&[">SHARD", "OWNER", ">EPOCH"]);
    for shard in items(&answer) {
        table.row(["/shard", "/owner", "/epoch"].map(|pointer| field(shard, pointer)));
    }
    terminal.table(&table)
}

async fn quarantine(client: &Client, terminal: &mut Terminal, output: Format) -> Result<(), Failure> {
    let answer = client.get("/inspect/quarantine").await?;
    if output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table = Table::new(&["STREAM", "WHAT", ">FAILURES", "SINCE", "LAST ERROR"]);
    for item in items(&answer) {
        let fields = ["/stream", "/what", "/failures", "/since", "/last_error/message"];
        table.row(fields.map(|pointer| field(item, pointer)));
    }
    terminal.table(&table)?;
    let incomplete = field(&answer, "/incomplete");
    if !incomplete.is_empty() {
        terminal.note(&format!("not all is shown: {incomplete}"));
    }
    Ok(())
}

async fn top(client: &Client, terminal: &mut Terminal, by: TopBy, output: Format) -> Result<(), Failure> {
    let answer = client.get(&format!("/inspect/actors/top?by={}&limit={TOP}", by.as_str())).await?;
    if output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table = new_table();
    for actor in items(&answer) {
        row(&mut table, actor, "");
    }
    terminal.table(&table)
}

fn new_table() -> Table {
    Table::new(&["ACTOR", "KIND", "STATE", ">MAILBOX", ">BUSY", ">HANDLED", ">RESTARTS", "LAST ERROR"])
}

/// An actor under `branch`, and those it supervises under what follows `trunk`.
fn add(table: &mut Table, actor: &Value, branch: &str, trunk: &str) {
    row(table, actor, branch);
    let children = actor["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (n, child) in children.iter().enumerate() {
        let (fork, line) = if n + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        add(table, child, &format!("{trunk}{fork}"), &format!("{trunk}{line}"));
    }
}

fn row(table: &mut Table, actor: &Value, branch: &str) {
    let number = |key: &str| actor[key].as_u64().unwrap_or(0);
    table.row([
        format!("{branch}{}", field(actor, "/id")),
        field(actor, "/kind"),
        field(actor, "/state"),
        number("mailbox").to_string(),
        if number("busy_ms") == 0 { String::new() } else { span(number("busy_ms")) },
        grouped(number("handled")),
        number("restarts").to_string(),
        field(actor, "/last_error"),
    ]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_shows_who_supervises_whom() {
        let actor = |id: &str, children: Vec<Value>| json!({"id": id, "kind": "k", "state": "running", "children": children});
        let tree = actor("root", vec![actor("a", vec![actor("a1", vec![])]), actor("b", vec![])]);
        let mut table = new_table();
        add(&mut table, &tree, "", "");
        let text = table.render(false);
        let names: Vec<&str> =
            text.lines().skip(1).map(|line| line.split("   k ").next().unwrap().trim_end()).collect();
        assert_eq!(names, ["root", "├─ a", "│  └─ a1", "└─ b"], "{text}");
    }
}
