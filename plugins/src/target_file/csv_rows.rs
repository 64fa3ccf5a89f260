//! Records as CSV rows (RFC 4180, line feed as line end). Writes into memory only.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::singer::Members;

/// The columns of one file, in the order of its header.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

/// Why a record is no row of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowError {
    /// The record is not an object; what the parser said.
    NotAnObject(String),
    /// The record has this property, the file no such column.
    NoColumn(String),
}

impl Columns {
    pub fn new(names: Vec<String>) -> Self {
        let places = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        Self { names, places }
    }

    /// Those of `names` that are no column.
    pub fn missing<'n>(&self, names: impl Iterator<Item = &'n String>) -> Vec<&'n str> {
        names.filter(|name| !self.places.contains_key(*name)).map(String::as_str).collect()
    }

    pub fn write_header(&self, out: &mut Vec<u8>) {
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(name, out);
        }
        out.push(b'\n');
    }

    /// Appends one row. Null and absent are an empty field, the empty text is `""`, nested values are their JSON.
    pub fn write_row(&self, record: &RawValue, out: &mut Vec<u8>) -> Result<(), RowError> {
        let members: Members<'_> =
            serde_json::from_str(record.get()).map_err(|error| RowError::NotAnObject(error.to_string()))?;
        let mut fields: Vec<Option<&RawValue>> = vec![None; self.names.len()];
        let mut next = 0;
        for (name, value) in members.0 {
            // Most records have the header's order, so the next column is tried before the map.
            if self.names.get(next).is_none_or(|expected| *expected != name) {
                let Some(place) = self.places.get(name.as_ref()) else {
                    return Err(RowError::NoColumn(name.into_owned()));
                };
                next = *place;
            }
            fields[next] = Some(value);
            next += 1;
        }
        let start = out.len();
        for (index, field) in fields.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if let Some(value) = field {
                write_value(value, out)?;
            }
        }
        if out.len() == start {
            out.extend_from_slice(b"\"\""); // a lone null: readers skip lines with nothing on them
        }
        out.push(b'\n');
        Ok(())
    }
}

fn write_value(value: &RawValue, out: &mut Vec<u8>) -> Result<(), RowError> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let text: std::borrow::Cow<'_, str> =
                serde_json::from_str(text).map_err(|error| RowError::NotAnObject(error.to_string()))?;
            write_text(&text, out);
        }
        Some(b'{' | b'[') => write_text(text, out),
        Some(b'n') => {}
        _ => out.extend_from_slice(text.as_bytes()),
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !bytes.is_empty() && !bytes.iter().any(special) {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for byte in bytes {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[&str], record: &str) -> Result<String, RowError> {
        let columns = Columns::new(columns.iter().map(|name| name.to_string()).collect());
        let mut out = Vec::new();
        let raw: &RawValue = serde_json::from_str(record).unwrap();
        columns.write_row(raw, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn rows_follow_the_header_and_quote_what_must_be() {
        let record = r#"{"b":"x,\"y\"\n","a":1.50,"d":{"k": [1]},"e":"","f":null,"g":true}"#;
        let expected = "1.50,\"x,\"\"y\"\"\n\",,\"{\"\"k\"\": [1]}\",\"\",,true\n";
        assert_eq!(row(&["a", "b", "c", "d", "e", "f", "g"], record).unwrap(), expected);
        assert_eq!(row(&["a"], "{}").unwrap(), "\"\"\n");
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        assert_eq!(row(&["a"], r#"{"z":1}"#), Err(RowError::NoColumn("z".into())));
        assert!(matches!(row(&["a"], "[1]"), Err(RowError::NotAnObject(_))));
    }

    #[test]
    fn a_csv_reader_gets_back_what_was_written() {
        let texts = ["plain", "", "a,b", "\"", "\r\n", " x ", "é", "'"];
        for text in texts {
            let record = serde_json::json!({"a": text, "b": 1}).to_string();
            let written = row(&["a", "b"], &record).unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(written.as_bytes());
            let read = reader.records().next().unwrap().unwrap();
            assert_eq!((&read[0], &read[1]), (text, "1"));
        }
    }
}
