//! What a new definition changes in the current one. Values of `config` are never shown: they may be somebody's
//! password. Never in here: fetching or printing.

use serde_json::Value;

/// Longest value shown, characters.
const MAX_SHOWN: usize = 60;

/// One line a difference: `~` changed, `+` added. What only the current one has is not listed except at the end of a
/// list, because the node adds defaults that no file says.
#[must_use]
pub fn difference(current: &Value, new: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk(current, new, "", &mut lines);
    lines
}

fn walk(current: &Value, new: &Value, path: &str, lines: &mut Vec<String>) {
    match (current, new) {
        (_, Value::Object(entries)) if current.is_object() => {
            for (key, value) in entries {
                // what a document is, is not a field of what it defines
                if path.is_empty() && key == "kind" {
                    continue;
                }
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&current[key], value, &path, lines);
            }
        }
        (Value::Array(old), Value::Array(items)) => {
            for (n, value) in items.iter().enumerate() {
                walk(old.get(n).unwrap_or(&Value::Null), value, &format!("{path}[{n}]"), lines);
            }
            lines.extend((items.len()..old.len()).map(|n| format!("- {path}[{n}]")));
        }
        (old, new) if old == new => {}
        (Value::Null, new) => lines.push(format!("+ {path}: {}", shown(path, new))),
        (old, new) => lines.push(format!("~ {path}: {} -> {}", shown(path, old), shown(path, new))),
    }
}

fn shown(path: &str, value: &Value) -> String {
    if path.split('.').any(|part| part == "config") {
        return "(config)".to_owned();
    }
    let text = value.to_string();
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changes_is_named_and_config_is_not_shown() {
        let current = json!({"name": "p", "priority": 5, "steps": [
            {"name": "a", "retry": {"attempts": 3}, "config": {"password": "hunter2"}}, {"name": "b"}]});
        let new = json!({"kind": "Pipeline", "name": "p", "description": "x", "steps": [
            {"name": "a", "retry": {"attempts": 5}, "config": {"password": "hunter3"}}]});
        assert_eq!(
            difference(&current, &new),
            [
                "+ description: \"x\"",
                "~ steps[0].retry.attempts: 3 -> 5",
                "~ steps[0].config.password: (config) -> (config)",
                "- steps[1]",
            ]
        );
        assert_eq!(difference(&current, &current), Vec::<String>::new());
    }
}
