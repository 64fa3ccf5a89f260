//! The Singer catalog: written by `--discover`, read for what is selected. Reads no data file.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::sources::Stream;
use crate::Error;

/// The catalog given by `--catalog`.
#[derive(Debug, Deserialize)]
pub(super) struct Catalog {
    streams: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    tap_stream_id: String,
    schema: Value,
    #[serde(default)]
    metadata: Vec<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    breadcrumb: Vec<String>,
    metadata: Map<String, Value>,
}

/// What of a stream is to be replicated.
#[derive(Debug)]
pub(super) struct Selection {
    /// Only selected properties.
    pub schema: Value,
    /// Properties that are left out of records.
    pub deselected: HashSet<String>,
}

impl Catalog {
    /// `None` when the stream is not selected; a stream that the catalog does not list is not.
    pub fn select(&self, stream: &Stream) -> Result<Option<Selection>, Error> {
        let Some(entry) = self.streams.iter().find(|entry| entry.tap_stream_id == stream.name) else {
            return Ok(None);
        };
        if !entry.says(&[]) {
            return Ok(None);
        }
        let mut schema = entry.schema.clone();
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            return Err(Error::invalid(format!(
                "catalog: the schema of stream {} has no properties: make the catalog with --discover",
                stream.name
            )));
        };
        let automatic = |name: &String| {
            stream.key_properties.contains(name) || stream.replication_key.as_ref() == Some(name)
        };
        let deselected: HashSet<String> = properties
            .keys()
            .filter(|name| !automatic(name) && !entry.says(&["properties", name.as_str()]))
            .cloned()
            .collect();
        properties.retain(|name, _| !deselected.contains(name));
        Ok(Some(Selection { schema, deselected }))
    }
}

impl Entry {
    /// Selected unless the metadata of this breadcrumb says otherwise.
    fn says(&self, breadcrumb: &[&str]) -> bool {
        let Some(found) = self.metadata.iter().find(|metadata| metadata.breadcrumb == breadcrumb) else {
            return true;
        };
        let flag = |name: &str| found.metadata.get(name).and_then(Value::as_bool);
        let inclusion = found.metadata.get("inclusion").and_then(Value::as_str);
        match inclusion {
            Some("automatic") => true,
            Some("unsupported") => false,
            _ => flag("selected").or_else(|| flag("selected-by-default")).unwrap_or(true),
        }
    }
}

/// One stream of the catalog that `--discover` writes.
pub(super) fn entry(stream: &Stream, schema: &Value) -> Value {
    let automatic =
        |name: &String| stream.key_properties.contains(name) || stream.replication_key.as_ref() == Some(name);
    let mut metadata = vec![json!({
        "breadcrumb": [],
        "metadata": {
            "inclusion": "available", "selected-by-default": true, "table-key-properties": stream.key_properties,
        },
    })];
    for name in schema["properties"].as_object().into_iter().flat_map(Map::keys) {
        let inclusion = if automatic(name) { "automatic" } else { "available" };
        metadata.push(json!({
            "breadcrumb": ["properties", name],
            "metadata": {"inclusion": inclusion, "selected-by-default": true},
        }));
    }
    let mut entry = json!({
        "tap_stream_id": stream.name, "stream": stream.name, "schema": schema,
        "key_properties": stream.key_properties, "metadata": metadata,
    });
    if let Some(key) = &stream.replication_key {
        entry["replication_key"] = json!(key);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::super::config::Format;
    use super::*;

    fn stream() -> Stream {
        Stream {
            name: "people".into(),
            files: vec![],
            format: Format::Csv,
            delimiter: b',',
            key_properties: vec!["id".into()],
            replication_key: None,
            types: Default::default(),
        }
    }

    fn select(change: impl FnOnce(&mut Value)) -> Option<Vec<String>> {
        let schema = json!({"type": "object", "properties": {"id": {}, "name": {}, "age": {}}});
        let mut catalog = json!({"streams": [entry(&stream(), &schema)]});
        change(&mut catalog);
        let catalog: Catalog = serde_json::from_value(catalog).unwrap();
        let selection = catalog.select(&stream()).unwrap()?;
        Some(selection.schema["properties"].as_object().unwrap().keys().cloned().collect())
    }

    #[test]
    fn a_discovered_catalog_selects_everything() {
        assert_eq!(select(|_| ()).unwrap(), ["id", "name", "age"]);
    }

    #[test]
    fn metadata_deselects_properties_but_never_keys() {
        let none = |catalog: &mut Value| {
            for property in 1..=3 {
                catalog["streams"][0]["metadata"][property]["metadata"]["selected"] = json!(false);
            }
        };
        assert_eq!(select(none).unwrap(), ["id"]);
        let by_default = |catalog: &mut Value| {
            catalog["streams"][0]["metadata"][2]["metadata"]["selected-by-default"] = json!(false);
        };
        assert_eq!(select(by_default).unwrap(), ["id", "age"]);
    }

    #[test]
    fn streams_can_be_deselected_or_left_out() {
        assert!(select(|c| c["streams"][0]["metadata"][0]["metadata"]["selected"] = json!(false)).is_none());
        assert!(select(|c| c["streams"] = json!([])).is_none());
    }
}
