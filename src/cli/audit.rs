//! `audit`: who asked the node for what. Never in here: what an action means.

use super::args_resources::AuditArgs;
use super::client::Client;
use super::failure::Failure;
use super::human::field;
use super::lists::{items, read_list, write_list};
use super::output::{Format, Terminal};
use super::table::Table;

/// Prints the audit log, newest first.
///
/// # Errors
/// What the node refuses.
pub async fn audit(client: &Client, terminal: &mut Terminal, args: AuditArgs) -> Result<(), Failure> {
    let filters = [
        ("actor", args.actor.as_deref()),
        ("outcome", args.outcome.as_deref()),
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
    ];
    let answer = read_list(client, "/audit", &filters, None, args.list.limit).await?;
    if args.list.output.output == Format::Json {
        return terminal.json(&answer);
    }
    let mut table =
        Table::new(&["TIME", "ACTOR", "FROM", "OUTCOME", "ACTION", "ON", ">COUNT", "CORRELATION"]);
    for item in items(&answer) {
        let status = field(item, "/status");
        let outcome = field(item, "/outcome");
        table.row([
            field(item, "/at"),
            field(item, "/actor"),
            field(item, "/address"),
            if status.is_empty() { outcome } else { format!("{outcome} {status}") },
            field(item, "/action"),
            field(item, "/aggregate_id"),
            field(item, "/count"),
            field(item, "/correlation_id"),
        ]);
    }
    write_list(terminal, &answer, &table)
}
