//! Reads lists page by page up to a limit. Never in here: how they look.

use serde_json::{Value, json};

use super::client::{Client, escaped};
use super::failure::Failure;
use super::output::Terminal;
use super::table::Table;

/// Most items a node gives in one page.
const PAGE: usize = 1_000;

/// Up to `limit` items of the list at `path`, in the shape the node gives: `{items, next_cursor, position}`.
/// `filters` are the query; those without a value are left out. `start` is the cursor to begin at (for events the
/// position to begin after, which is the same).
///
/// # Errors
/// What the node refuses.
pub async fn read_list(
    client: &Client,
    path: &str,
    filters: &[(&str, Option<&str>)],
    start: Option<u64>,
    limit: u32,
) -> Result<Value, Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut query = String::new();
    for (name, value) in filters {
        if let Some(value) = value {
            query += &format!("&{name}={}", escaped(value));
        }
    }
    let mut items = Vec::new();
    let mut cursor = start.map(|start| format!("&cursor={start}")).unwrap_or_default();
    loop {
        let page = (limit - items.len()).min(PAGE);
        let mut answer = client.get(&format!("{path}?limit={page}{query}{cursor}")).await?;
        let found = answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let empty = found.is_empty();
        items.extend(found);
        match answer["next_cursor"].as_str() {
            Some(next) if items.len() < limit && !empty => cursor = format!("&cursor={}", escaped(next)),
            _ => {
                let next = answer["next_cursor"].take();
                return Ok(json!({"items": items, "next_cursor": next, "position": answer["position"]}));
            }
        }
    }
}

/// Writes the table of a list, and says so when the list goes on.
///
/// # Errors
/// As [`Terminal::line`].
pub fn write_list(terminal: &mut Terminal, list: &Value, table: &Table) -> Result<(), Failure> {
    terminal.table(table)?;
    if !list["next_cursor"].is_null() {
        terminal.note(&format!("these are the first {}; there are more: raise --limit", items(list).len()));
    }
    Ok(())
}

/// The items of a list.
#[must_use]
pub fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}
