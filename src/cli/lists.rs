//! Reads lists page by page up to a limit. Never in here: how they look.

use serde_json::{Value, json};

use super::client::{Client, escaped};
use super::failure::{Exit, Failure};
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
    // whoever lists after a change sees it, although lists may lag
    let mut fresh = match path {
        // these are read where they are written
        _ if path == "/events" || path == "/tokens" || path.starts_with("/subscriptions/") => None,
        _ => client.get("/status").await.ok().and_then(|status| status["metrics"]["position"].as_u64()),
    };
    let mut items = Vec::new();
    let mut cursor = start.map(|start| format!("&cursor={start}")).unwrap_or_default();
    loop {
        let page = (limit - items.len()).min(PAGE);
        let wait = fresh.take().map(|position| format!("&min_position={position}")).unwrap_or_default();
        let asked = format!("{path}?limit={page}{query}{cursor}");
        let mut answer = match client.get(&format!("{asked}{wait}")).await.map_err(Failure::from) {
            // lists that are far behind, as after an update, are better than none
            Err(failure) if failure.exit == Exit::Unavailable && !wait.is_empty() => {
                client.get(&asked).await?
            }
            answered => answered?,
        };
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
