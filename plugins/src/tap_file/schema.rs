//! Schemas inferred from a bounded sample of a stream's files. Emits nothing and remembers no data.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::Format;
use super::csv_source;
use super::jsonl_source;
use super::kind::Kind;
use super::sources::Stream;
use crate::Error;
use crate::lines::Lines;

/// How many records of a stream are looked at, shared by its files.
const SAMPLE_RECORDS: usize = 10_000;

/// How many of each file at least, so that no file's columns are overlooked.
const SAMPLE_PER_FILE: usize = 10;

/// The most bytes of one file that are looked at.
const SAMPLE_BYTES: u64 = 8 << 20;

/// The JSON Schema of a stream's records, properties in the order they first appear.
pub(super) fn infer(stream: &Stream) -> Result<Value, Error> {
    let share = (SAMPLE_RECORDS / stream.files.len().max(1)).max(SAMPLE_PER_FILE);
    let properties = match stream.format {
        Format::Csv => infer_csv(stream, share)?,
        Format::Jsonl => infer_jsonl(stream, share)?,
    };
    for key in stream.key_properties.iter().chain(&stream.replication_key) {
        if !properties.contains_key(key) && !properties.is_empty() {
            return Err(Error::invalid(format!(
                "stream {} has no property {key}, which key_properties or replication_key names: it has {}",
                stream.name,
                properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
            )));
        }
    }
    Ok(json!({"type": "object", "properties": properties}))
}

fn infer_csv(stream: &Stream, share: usize) -> Result<Map<String, Value>, Error> {
    let mut columns: Vec<(String, Option<Kind>)> = Vec::new();
    for path in &stream.files {
        let mut reader = csv_source::open(path, stream.delimiter)?;
        let header = csv_source::header(&mut reader, path)?;
        let mut places = Vec::with_capacity(header.len());
        for name in header {
            let known = columns.iter().position(|(known, _)| *known == name);
            places.push(known.unwrap_or(columns.len()));
            if known.is_none() {
                columns.push((name, None));
            }
        }
        let mut record = csv::ByteRecord::new();
        for _ in 0..share {
            let more = csv_source::read_record(&mut reader, &mut record, path)?;
            if !more || reader.position().byte() > SAMPLE_BYTES {
                break;
            }
            for (field, place) in record.iter().zip(&places) {
                // What is not UTF-8 is refused with its line when it is read for good.
                let Some(kind) = str::from_utf8(field).ok().and_then(Kind::of) else { continue };
                let so_far = &mut columns[*place].1;
                *so_far = Some(so_far.map_or(kind, |so_far| so_far.join(kind)));
            }
        }
    }
    for name in stream.types.keys() {
        if !columns.iter().any(|(column, _)| column == name) && !columns.is_empty() {
            return Err(Error::invalid(format!(
                "stream {} has no column {name}, which `types` names",
                stream.name
            )));
        }
    }
    Ok(columns
        .into_iter()
        .map(|(name, kind)| {
            let kind = stream.types.get(&name).copied().or(kind).unwrap_or(Kind::String);
            (name, kind.schema())
        })
        .collect())
}

/// What a property's values have been.
#[derive(Debug, Default)]
struct Seen {
    types: BTreeSet<&'static str>,
    texts: Option<Kind>,
}

fn infer_jsonl(stream: &Stream, share: usize) -> Result<Map<String, Value>, Error> {
    let mut properties: Vec<(String, Seen)> = Vec::new();
    for path in &stream.files {
        let file = File::open(path).map_err(Error::file("open", path))?;
        let mut lines = Lines::new(file);
        for _ in 0..share {
            if lines.offset() > SAMPLE_BYTES || !sample_line(&mut lines, path, &mut properties)? {
                break;
            }
        }
    }
    Ok(properties.into_iter().map(|(name, seen)| (name, seen.schema())).collect())
}

fn sample_line(
    lines: &mut Lines<File>,
    path: &Path,
    properties: &mut Vec<(String, Seen)>,
) -> Result<bool, Error> {
    let Some(line) = jsonl_source::next_line(lines, path)? else { return Ok(false) };
    if line.bytes.is_empty() {
        return Ok(true);
    }
    let object: Map<String, Value> = serde_json::from_slice(line.bytes)
        .map_err(|error| jsonl_source::not_an_object(path, line.number, &error))?;
    for (name, value) in object {
        let known = properties.iter().position(|(known, _)| *known == name);
        let place = known.unwrap_or(properties.len());
        if known.is_none() {
            properties.push((name, Seen::default()));
        }
        properties[place].1.add(&value);
    }
    Ok(true)
}

impl Seen {
    fn add(&mut self, value: &Value) {
        self.types.insert(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
        if let Value::String(text) = value {
            let kind = match Kind::of(text) {
                Some(kind @ (Kind::Date | Kind::DateTime)) => kind,
                _ => Kind::String,
            };
            self.texts = Some(self.texts.map_or(kind, |so_far| so_far.join(kind)));
        }
    }

    /// Always with null, because a later record may lack the property.
    fn schema(mut self) -> Value {
        self.types.remove("null");
        if self.types.contains("number") {
            self.types.remove("integer");
        }
        if self.types.is_empty() {
            self.types.extend(["string", "number", "boolean", "array", "object"]); // nothing is known: anything
        }
        let mut schema = json!({"type": ["null"]});
        if let Value::Array(types) = &mut schema["type"] {
            types.extend(self.types.iter().map(|name| json!(name)));
        }
        if self.types.contains("array") {
            schema["items"] = json!({});
        }
        if let Some(format) = self.texts.and_then(|kind| kind.schema().get("format").cloned()) {
            schema["format"] = format;
        }
        schema
    }
}
