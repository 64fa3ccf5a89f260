//! Events that were written in an earlier shape are lifted to today's when they are read, one version at a time; what
//! is stored never changes. Never in here: what an event means.
//!
//! A payload whose shape changes gets the next schema version in its `event_set!`, with a [`Lift`] from the one before.
//! A lift only moves, renames and fills in fields of a payload that was once written; what it cannot make sense of, it
//! leaves to the decoder to refuse. Its fixture of the earlier version stays, and must read as today's shape.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::codec::{CodecError, from_bytes, to_bytes};

/// Changes the fields of a payload from one schema version to the next. Total: it never fails and never panics.
pub(super) type Lift = fn(&mut Map<String, Value>);

/// Reads a payload that was written in `schema_version`; `lifts` lead from the first version to today's.
///
/// # Errors
/// When the version is beyond today's (or 0), or the payload does not fit.
pub(super) fn read<T: DeserializeOwned>(
    kind: &str,
    schema_version: u16,
    lifts: &[Lift],
    payload: &[u8],
) -> Result<T, CodecError> {
    let missing = usize::from(schema_version).checked_sub(1).and_then(|first| lifts.get(first..));
    let unreadable = |source| CodecError::Payload { kind: kind.to_owned(), source };
    match missing {
        None => Err(CodecError::UnknownEvent { kind: kind.to_owned(), schema_version }),
        Some([]) => from_bytes(payload).map_err(unreadable),
        Some(missing) => {
            let mut fields: Map<String, Value> = from_bytes(payload).map_err(unreadable)?;
            missing.iter().for_each(|lift| lift(&mut fields));
            // through the one decoder that reads today's payloads too
            from_bytes(&to_bytes(&fields)).map_err(unreadable)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::domain::codec::{EventSet, event_set};

    /// Version 1 was `{who}`; 2 `{name, seconds}`; 3 is this.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Greeted {
        name: String,
        millis: u64,
        #[serde(default)]
        tags: Vec<String>,
    }

    /// Never changed.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Left {}

    event_set! {
        /// Events of a test.
        TestEvent { Greeted = 3 from [who_is_a_name, seconds_are_millis], Left = 1 }
    }

    fn who_is_a_name(fields: &mut Map<String, Value>) {
        let who = fields.remove("who").unwrap_or_default();
        fields.insert("name".to_owned(), who);
        fields.insert("seconds".to_owned(), json!(0));
    }

    fn seconds_are_millis(fields: &mut Map<String, Value>) {
        if let Some(seconds) = fields.remove("seconds").as_ref().and_then(Value::as_u64) {
            fields.insert("millis".to_owned(), seconds.saturating_mul(1_000).into());
        }
    }

    fn decode(version: u16, payload: &Value) -> Result<TestEvent, CodecError> {
        TestEvent::decode("Greeted", version, &to_bytes(payload))
    }

    fn greeted(name: &str, millis: u64) -> TestEvent {
        Greeted { name: name.to_owned(), millis, tags: Vec::new() }.into()
    }

    #[test]
    fn every_version_reads_as_todays() {
        assert_eq!(decode(1, &json!({"who": "Ada"})).unwrap(), greeted("Ada", 0));
        assert_eq!(decode(2, &json!({"name": "Ada", "seconds": 2})).unwrap(), greeted("Ada", 2_000));
        assert_eq!(decode(3, &json!({"name": "Ada", "millis": 5})).unwrap(), greeted("Ada", 5));
        assert_eq!(greeted("Ada", 5).encode().schema_version, 3, "written in today's");
        assert_eq!(TestEvent::decode("Left", 1, b"\x80").unwrap(), Left {}.into());
    }

    #[test]
    fn what_was_never_written_is_an_error_that_names_it() {
        for version in [0, 4, u16::MAX] {
            let error = decode(version, &json!({"name": "Ada", "millis": 5})).unwrap_err().to_string();
            let expected = format!("Greeted in schema version {version}: it was written by a newer version");
            assert!(error.contains(&expected), "{error}");
        }
        for (version, payload) in [(1, json!({"who": 7})), (2, json!({"seconds": 1})), (1, json!([1]))] {
            let error = decode(version, &payload).unwrap_err();
            assert_eq!(error.to_string(), "payload of Greeted cannot be read", "{payload}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_written_is_read(name in ".*", seconds: u64, millis: u64, tags: Vec<String>) {
            prop_assert_eq!(decode(1, &json!({"who": name})).unwrap(), greeted(&name, 0));
            let second = decode(2, &json!({"name": name, "seconds": seconds, "tags": tags})).unwrap();
            let expected = Greeted { name: name.clone(), millis: seconds.saturating_mul(1_000), tags: tags.clone() };
            prop_assert_eq!(second, expected.into());
            let today = Greeted { name, millis, tags };
            let encoded = TestEvent::from(today.clone()).encode();
            let read = TestEvent::decode(encoded.kind, encoded.schema_version, &encoded.payload).unwrap();
            prop_assert_eq!(read, today.into());
        }

        #[test]
        fn no_payload_makes_a_lift_panic(version in 0..5_u16, payload: Vec<u8>) {
            drop(TestEvent::decode("Greeted", version, &payload));
        }
    }
}
