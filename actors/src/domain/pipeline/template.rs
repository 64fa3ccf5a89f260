//! `${…}` in configurations: `${param.x}`, `${execution.id}`, `${today}`, `${secret.X}`. An unknown one is a problem when
//! the pipeline is validated, so that none is met when it runs. Secrets are only found here, never filled in: what is
//! filled is recorded and shown.

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::domain::ids::ExecutionId;
use crate::domain::secret::{Part, SecretName, SecretPlace};

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
/// longer text it is written out. Unknown ones stay as they are: validation refused them before. So do secrets.
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
    if let [Piece::Placeholder { name, .. }] = pieces(text)[..]
        && let Some(value) = lookup(name, values)
    {
        return value;
    }
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        push_filled(&mut filled, piece, Some(values));
    }
    Value::String(filled)
}

/// Adds a piece to a text, written out where it has a value.
fn push_filled(text: &mut String, piece: Piece<'_>, values: Option<Values<'_>>) {
    match piece {
        Piece::Text(part) => text.push_str(part),
        Piece::Placeholder { name, whole } => match values.and_then(|values| lookup(name, values)) {
            Some(Value::String(value)) => text.push_str(&value),
            Some(value) => text.push_str(&value.to_string()),
            None => text.push_str(whole),
        },
    }
}

/// The texts of a configuration that refer to secrets, with everything else in them filled in when there are `values`.
/// What a parameter holds is never a reference.
#[must_use]
pub fn secret_places(template: &Value, values: Option<Values<'_>>) -> Vec<SecretPlace> {
    let mut places = Vec::new();
    collect_places(template, String::new(), String::new(), values, &mut places);
    places
}

fn collect_places(
    value: &Value,
    field: String,
    pointer: String,
    values: Option<Values<'_>>,
    places: &mut Vec<SecretPlace>,
) {
    match value {
        Value::String(text) => {
            let parts = parts_of(text, values);
            if parts.iter().any(|part| matches!(part, Part::Secret(_))) {
                places.push(SecretPlace { field, pointer, parts });
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                collect_places(item, format!("{field}[{n}]"), format!("{pointer}/{n}"), values, places);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let dot = if field.is_empty() { "" } else { "." };
                let escaped = key.replace('~', "~0").replace('/', "~1");
                let (field, pointer) = (format!("{field}{dot}{key}"), format!("{pointer}/{escaped}"));
                collect_places(item, field, pointer, values, places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn parts_of(text: &str, values: Option<Values<'_>>) -> Vec<Part> {
    let (mut parts, mut plain) = (Vec::new(), String::new());
    for piece in pieces(text) {
        match secret_of(piece) {
            Some(name) => {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Secret(name));
            }
            None => push_filled(&mut plain, piece, values),
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    parts
}

fn secret_of(piece: Piece<'_>) -> Option<SecretName> {
    let Piece::Placeholder { name, .. } = piece else { return None };
    SecretName::new(name.strip_prefix("secret.")?).ok()
}

/// A piece of a text.
#[derive(Debug, Clone, Copy)]
enum Piece<'t> {
    Text(&'t str),
    /// `${name}`, `whole` with the braces.
    Placeholder {
        name: &'t str,
        whole: &'t str,
    },
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let Some(end) = from.find('}') else { break };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Placeholder { name: &from[2..end], whole: &from[..=end] });
        rest = &from[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
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
        return SecretName::new(secret).err().map(|invalid| invalid.to_string());
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
            "unknown placeholder ${{{name}}}: use ${{param.<name>}}, ${{execution.id}}, ${{today}} or ${{secret.<NAME>}}"
        )),
    }
}
