//! `${…}` in configurations: `${param.x}`, `${execution.id}`, `${today}`. An unknown one is a problem when the
//! pipeline is validated, so that none is met when it runs.

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::domain::ids::ExecutionId;

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The execution's parameters.
    pub parameters: &'a Map<String, Value>,
    /// Its id.
    pub execution: ExecutionId,
    /// The day it was asked for, UTC.
    pub today: Date,
}

/// Reports every placeholder in `value` that is not known, by its path below `path`.
pub fn check_template(
    value: &Value,
    path: &str,
    parameters: &[&str],
    report: &mut impl FnMut(String, String),
) {
    match value {
        Value::String(text) => {
            for placeholder in placeholders(text) {
                let problem = match placeholder {
                    Ok(name) => unknown(name, parameters),
                    Err(begun) => {
                        Some(format!("\"${{{begun}\" is a placeholder without an end: close it with }}"))
                    }
                };
                if let Some(message) = problem {
                    report(path.to_owned(), message);
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                check_template(item, &format!("{path}[{n}]"), parameters, report);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                check_template(item, &format!("{path}.{key}"), parameters, report);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces the placeholders in `value`. A text that is one placeholder takes the value with its type; within a
/// longer text it is written out. Unknown ones stay as they are: validation refused them before.
#[must_use]
pub fn fill(value: &Value, values: Values<'_>) -> Value {
    match value {
        Value::String(text) => fill_text(text, values),
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), fill(v, values))).collect()),
        other => other.clone(),
    }
}

fn fill_text(text: &str, values: Values<'_>) -> Value {
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && let Some(value) = lookup(name, values)
    {
        return value;
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let Some(end) = from.find('}') else {
            rest = from;
            break;
        };
        match lookup(&from[2..end], values) {
            Some(Value::String(value)) => filled.push_str(&value),
            Some(value) => filled.push_str(&value.to_string()),
            None => filled.push_str(&from[..=end]),
        }
        rest = &from[end + 1..];
    }
    filled.push_str(rest);
    Value::String(filled)
}

fn lookup(name: &str, values: Values<'_>) -> Option<Value> {
    match name {
        "execution.id" => Some(Value::String(values.execution.to_string())),
        "today" => Some(Value::String(values.today.to_string())),
        other => values.parameters.get(other.strip_prefix("param.")?).cloned(),
    }
}

/// The names between `${` and `}`; an error is what follows a `${` that nothing closes.
pub(super) fn placeholders(text: &str) -> impl Iterator<Item = Result<&str, &str>> {
    text.split("${").skip(1).map(|rest| rest.split_once('}').map(|(name, _)| name).ok_or(rest))
}

fn unknown(name: &str, parameters: &[&str]) -> Option<String> {
    if name == "execution.id" || name == "today" {
        return None;
    }
    if let Some(secret) = name.strip_prefix("secret.") {
        return Some(format!("${{secret.{secret}}} is not supported yet: it comes with the secrets store"));
    }
    match name.strip_prefix("param.") {
        Some(parameter) if parameters.contains(&parameter) => None,
        Some(parameter) => {
            let nearest = crate::domain::reader::nearest(parameter, parameters);
            let hint = nearest
                .map_or_else(|| "declare it under parameters".to_owned(), |n| format!("did you mean {n:?}?"));
            Some(format!("unknown parameter {parameter:?}: {hint}"))
        }
        None => Some(format!(
            "unknown placeholder ${{{name}}}: use ${{param.<name>}}, ${{execution.id}} or ${{today}}"
        )),
    }
}
