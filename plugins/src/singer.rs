//! Singer messages: one line read into borrowed parts, and the few lines that taps write. No files, no streams.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Error;

/// A message as it stands on its line; parts that are absent are `None`, or empty for the stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub stream: Cow<'a, str>,
    #[serde(borrow, default)]
    pub record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub value: Option<&'a RawValue>,
}

/// A JSON object's members in the order they stand in, values unparsed.
#[derive(Debug)]
pub(crate) struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'k>(#[serde(borrow)] Cow<'k, str>);

        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Replaces the bare words `NaN`, `Infinity` and `-Infinity`, which Python writes but JSON does not have, by
/// `null`. Answers the new text and how many there were; `None` when there were none.
pub(crate) fn without_non_finite(text: &str) -> Option<(String, u64)> {
    let mut out = String::with_capacity(text.len());
    let (mut count, mut from, mut at, mut in_string) = (0, 0, 0, false);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1, // whatever is escaped, it does not end the string
            b'N' | b'I' | b'-' if !in_string => {
                let word = ["NaN", "Infinity", "-Infinity"].iter().find(|word| text[at..].starts_with(*word));
                if let Some(word) = word {
                    out.push_str(&text[from..at]);
                    out.push_str("null");
                    count += 1;
                    at += word.len();
                    from = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (count > 0).then(|| {
        out.push_str(&text[from..]);
        (out, count)
    })
}

/// Writes one SCHEMA line.
pub(crate) fn write_schema(
    out: &mut Vec<u8>,
    stream: &str,
    schema: &Value,
    key_properties: &[String],
    bookmark_properties: &[String],
) -> Result<(), Error> {
    let mut message = json!({
        "type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": key_properties,
    });
    if !bookmark_properties.is_empty() {
        message["bookmark_properties"] = json!(bookmark_properties);
    }
    write_json(out, &message)?;
    out.push(b'\n');
    Ok(())
}

/// Everything of a RECORD line before its record; the line then ends with `}` and a newline.
pub(crate) fn record_prefix(stream: &str) -> Result<Vec<u8>, Error> {
    let mut prefix = br#"{"type":"RECORD","stream":"#.to_vec();
    write_json(&mut prefix, stream)?;
    prefix.extend_from_slice(br#","record":"#);
    Ok(prefix)
}

/// Writes one STATE line.
pub(crate) fn write_state(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Error> {
    out.extend_from_slice(br#"{"type":"STATE","value":"#);
    write_json(out, value)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// Writes a value as JSON into memory.
pub(crate) fn write_json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Result<(), Error> {
    serde_json::to_writer(out, value)
        .map_err(|source| Error::invalid(format!("cannot write as json: {source}")))
}

/// One `METRIC:` line per stream on standard error, as Singer programs write them.
pub(crate) fn log_record_counts<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) {
    for (stream, value) in counts.into_iter().collect::<BTreeMap<_, _>>() {
        let metric =
            json!({"type": "counter", "metric": "record_count", "value": value, "tags": {"stream": stream}});
        crate::cli::log("METRIC:", metric);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_without_copying() {
        let line = r#"{"type": "RECORD", "stream": "a", "record": {"x" : 1.50}, "version": 7}"#;
        let message: Message<'_> = serde_json::from_str(line).unwrap();
        assert!(matches!(message.kind, Cow::Borrowed("RECORD")));
        assert!(matches!(message.stream, Cow::Borrowed("a")));
        assert_eq!(message.record.unwrap().get(), r#"{"x" : 1.50}"#);
    }

    #[test]
    fn members_keep_their_order_and_text() {
        let members: Members<'_> = serde_json::from_str(r#"{"z":1.0,"\u0061":[1, 2],"b":null}"#).unwrap();
        let seen: Vec<_> = members.0.iter().map(|(key, value)| (key.as_ref(), value.get())).collect();
        assert_eq!(seen, [("z", "1.0"), ("a", "[1, 2]"), ("b", "null")]);
    }

    #[test]
    fn non_finite_numbers_become_null_outside_strings_only() {
        let text = r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN \"Infinity\"","d":-1}"#;
        let (fixed, count) = without_non_finite(text).unwrap();
        assert_eq!(fixed, r#"{"a":null,"b":[null,null],"c":"NaN \"Infinity\"","d":-1}"#);
        assert_eq!(count, 3);
        assert!(without_non_finite(r#"{"a":"NaN"}"#).is_none());
    }
}
