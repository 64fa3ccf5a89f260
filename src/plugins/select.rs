//! Marks streams and properties of a Singer catalog as selected by patterns. Pure.
//!
//! A pattern is `stream` or `stream.property`; `*` stands for any characters, `!` at the beginning takes away what
//! earlier patterns gave, and `\.` is a dot within a stream's name. Properties of properties are joined by dots.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Streams named in an error, at most.
const NAMED_STREAMS: usize = 20;

/// Selects exactly what `patterns` say, in the metadata of each stream.
///
/// # Errors
/// A sentence when the catalog has no streams or a pattern matches nothing: a misspelled one would load nothing.
pub fn select(catalog: &mut Value, patterns: &[String]) -> Result<(), String> {
    let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text)).collect();
    let mut used = vec![false; patterns.len()];
    let Some(streams) = catalog.get_mut("streams").and_then(Value::as_array_mut) else {
        return Err("the catalog has no list \"streams\"; give the catalog that the tap's --discover prints"
            .to_owned());
    };
    for stream in streams.iter_mut().filter_map(Value::as_object_mut) {
        select_in_stream(stream, &patterns, &mut used);
    }
    let Some(unused) = patterns.iter().zip(&used).find(|(p, used)| !**used && !p.exclude).map(|(p, _)| p)
    else {
        return Ok(());
    };
    let names: Vec<&str> =
        streams.iter().filter_map(|s| s.as_object()).map(name_of).take(NAMED_STREAMS).collect();
    Err(format!(
        "select {:?} matches nothing in the catalog; its streams are {}",
        unused.text,
        names.join(", ")
    ))
}

struct Pattern {
    text: String,
    exclude: bool,
    stream: String,
    property: String,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let (exclude, body) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let dot =
            body.match_indices('.').map(|(at, _)| at).find(|at| *at == 0 || body.as_bytes()[at - 1] != b'\\');
        let (stream, property) = dot.map_or((body, "*"), |at| (&body[..at], &body[at + 1..]));
        Self {
            text: text.to_owned(),
            exclude,
            stream: stream.replace("\\.", "."),
            property: property.to_owned(),
        }
    }
}

fn select_in_stream(stream: &mut Map<String, Value>, patterns: &[Pattern], used: &mut [bool]) {
    let names: Vec<String> = ["tap_stream_id", "stream"]
        .iter()
        .filter_map(|key| stream.get(*key).and_then(Value::as_str).map(str::to_owned))
        .collect();
    let matching: Vec<(usize, &Pattern)> = patterns
        .iter()
        .enumerate()
        .filter(|(_, p)| names.iter().any(|name| matches(&p.stream, name)))
        .collect();
    let mut properties = Vec::new();
    collect_properties(stream.get("schema"), &mut Vec::new(), &mut properties);
    let mut metadata = read_metadata(stream);
    let mut any = false;
    for breadcrumb in properties {
        let path =
            breadcrumb.iter().filter(|part| *part != "properties").cloned().collect::<Vec<_>>().join(".");
        let mut selected = false;
        for (n, pattern) in &matching {
            if matches(&pattern.property, &path) {
                selected = !pattern.exclude;
                used[*n] = true;
            }
        }
        let entry = metadata.entry(breadcrumb).or_default();
        let inclusion = entry.get("inclusion").and_then(Value::as_str);
        let selected_here = inclusion == Some("automatic") || (selected && inclusion != Some("unsupported"));
        any |= selected;
        entry.insert("selected".to_owned(), json!(selected_here));
    }
    for (n, pattern) in &matching {
        // a stream without declared properties is selected as a whole
        if pattern.property == "*" {
            used[*n] = true;
            any = if metadata.len() <= 1 { !pattern.exclude } else { any };
        }
    }
    metadata.entry(Vec::new()).or_default().insert("selected".to_owned(), json!(any));
    let entries = metadata
        .into_iter()
        .map(|(breadcrumb, metadata)| json!({"breadcrumb": breadcrumb, "metadata": metadata}))
        .collect();
    stream.insert("metadata".to_owned(), Value::Array(entries));
}

/// The breadcrumbs of all properties, properties of objects included.
fn collect_properties(schema: Option<&Value>, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let Some(properties) = schema.and_then(|s| s.get("properties")).and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        at.extend(["properties".to_owned(), name.clone()]);
        found.push(at.clone());
        collect_properties(Some(property), at, found);
        at.truncate(at.len() - 2);
    }
}

fn read_metadata(stream: &Map<String, Value>) -> BTreeMap<Vec<String>, Map<String, Value>> {
    let entries = stream.get("metadata").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entry = |entry: &Value| {
        let breadcrumb = entry.get("breadcrumb")?.as_array()?.iter().map(|b| b.as_str().map(str::to_owned));
        Some((breadcrumb.collect::<Option<Vec<_>>>()?, entry.get("metadata")?.as_object()?.clone()))
    };
    entries.iter().filter_map(entry).collect()
}

fn name_of(stream: &Map<String, Value>) -> &str {
    ["tap_stream_id", "stream"].iter().find_map(|key| stream.get(*key)?.as_str()).unwrap_or("(unnamed)")
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Value {
        json!({"streams": [
            {"tap_stream_id": "users", "stream": "users", "schema": {"properties": {
                "id": {"type": "integer"}, "name": {"type": "string"},
                "address": {"type": "object", "properties": {"city": {"type": "string"}}}}},
             "metadata": [
                {"breadcrumb": [], "metadata": {"table-key-properties": ["id"]}},
                {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}}]},
            {"tap_stream_id": "public.orders", "stream": "orders", "schema": {"properties": {"id": {}}}},
            {"tap_stream_id": "raw", "schema": {}},
        ]})
    }

    /// What is selected, as `stream` and `stream.property`.
    fn selected(patterns: &[&str]) -> Vec<String> {
        let mut catalog = catalog();
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        select(&mut catalog, &patterns).unwrap();
        let mut found = Vec::new();
        for stream in catalog["streams"].as_array().unwrap() {
            for entry in stream["metadata"].as_array().unwrap() {
                if entry["metadata"]["selected"] == json!(true) {
                    let parts = entry["breadcrumb"].as_array().unwrap().iter().filter_map(Value::as_str);
                    let path = parts.filter(|p| *p != "properties").collect::<Vec<_>>();
                    found.push([vec![stream["tap_stream_id"].as_str().unwrap()], path].concat().join("."));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn everything() {
        let all =
            ["public.orders", "public.orders.id", "raw", "users", "users.address", "users.address.city"];
        let all: Vec<&str> = all.into_iter().chain(["users.id", "users.name"]).collect();
        assert_eq!(selected(&["*.*"]), all);
        assert_eq!(selected(&["*"]), all);
    }

    #[test]
    fn some_properties_and_the_automatic_ones() {
        assert_eq!(selected(&["users.name"]), ["users", "users.id", "users.name"]);
        assert_eq!(selected(&["users.address.c*y"]), ["users", "users.address.city", "users.id"]);
        assert_eq!(selected(&["users.*", "!users.a*"]), ["users", "users.id", "users.name"]);
    }

    #[test]
    fn streams_are_matched_by_either_name() {
        assert_eq!(selected(&["public\\.orders.*"]), ["public.orders", "public.orders.id", "users.id"]);
        assert_eq!(selected(&["orders"]), ["public.orders", "public.orders.id", "users.id"]);
    }

    #[test]
    fn other_metadata_stays() {
        let mut catalog = catalog();
        select(&mut catalog, &["*.*".to_owned()]).unwrap();
        let first = &catalog["streams"][0]["metadata"][0];
        assert_eq!(first["metadata"]["table-key-properties"], json!(["id"]));
    }

    #[test]
    fn a_misspelled_pattern_is_refused_with_the_streams() {
        let error = select(&mut catalog(), &["user.*".to_owned()]).unwrap_err();
        assert!(error.contains("\"user.*\"") && error.contains("users, public.orders, raw"), "{error}");
        assert!(select(&mut catalog(), &["users.nmae".to_owned()]).is_err());
        assert!(select(&mut json!({}), &["*".to_owned()]).unwrap_err().contains("--discover"));
    }

    #[test]
    fn stars() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("abc", "abcd", false),
            ("a*bc", "ab", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
