//! Frames and messages of the flexcore protocol: a 4-byte big-endian length and a MessagePack map with a `type`. Pure.
//!
//! Nothing is believed: a length beyond the limit is refused before anything is allocated for it, nesting is bounded,
//! and what is no known message is an error. Unknown fields are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::limits::{MAX_CALL_BYTES, MAX_FRAME, MAX_NESTING, MAX_STATE_BYTES};

/// The version of the protocol that this host speaks.
pub const PROTOCOL: u64 = 1;
/// Bytes of a frame's length.
const LENGTH: usize = 4;

/// What a plugin says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The first message.
    Hello {
        /// The protocol's version.
        protocol: u64,
    },
    /// One record; its content is checked, not kept.
    Record {
        /// Its stream.
        stream: String,
    },
    /// How far it is.
    Progress {
        /// Records done in all, when it counts them itself.
        records: Option<u64>,
        /// For people.
        message: Option<String>,
    },
    /// A line for the log.
    Log {
        /// Such as `info`.
        level: Option<String>,
        /// The line.
        message: String,
    },
    /// Asks for something that its manifest must grant.
    Call {
        /// Repeated in the answer.
        id: u64,
        /// What it asks for.
        api: String,
        /// The arguments; absent when they are larger than a call's may be.
        arguments: Option<Value>,
    },
    /// Its last word: success.
    Result {
        /// An object, or nothing.
        result: Value,
    },
    /// Its last word: failure.
    Error {
        /// For people.
        message: String,
    },
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Says<'a> {
    /// What to do.
    Execute {
        /// The execution.
        execution_id: String,
        /// The operation; empty when none was asked for.
        operation: &'a str,
        /// The step's configuration.
        config: &'a Value,
        /// The operation's parameters.
        parameters: &'a Value,
    },
    /// Please end.
    Cancel {},
    /// The answer to a call.
    Result {
        /// Of the call.
        id: u64,
        /// What it gave.
        result: &'a Value,
    },
    /// The answer to a call that was refused.
    Error {
        /// Of the call.
        id: u64,
        /// Why.
        message: &'a str,
    },
}

/// What is wrong with a plugin's frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too long; nothing was read of it.
    #[error("a frame announces {0} bytes; {MAX_FRAME} is the most")]
    TooLong(u32),
    /// Not a known message. The text names fields and types, no values.
    #[error("a frame is not a message of the flexcore protocol: {0}")]
    Malformed(&'static str),
    /// The output ended within it.
    #[error("its output ended within a frame")]
    Half,
}

/// One message as a frame.
///
/// # Errors
/// When it is longer than a frame may be.
pub fn encode(message: &Says<'_>) -> Result<Vec<u8>, FrameError> {
    let body = rmp_serde::to_vec_named(message).map_err(|_| FrameError::Malformed("cannot be encoded"))?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    Ok([&length.to_be_bytes()[..], &body].concat())
}

/// Takes bytes as they come and gives messages.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`FrameError`]; what follows is then meaningless.
    pub fn next_message(&mut self) -> Result<Option<Said>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some((length, body)) = rest.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = body.get(..size) else { return Ok(None) };
        let message = decode(body)?;
        self.start += LENGTH + size;
        Ok(Some(message))
    }

    /// The output has ended.
    ///
    /// # Errors
    /// When it ended within a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.bytes.len() > self.start { Err(FrameError::Half) } else { Ok(()) }
    }
}

/// Two passes, first over the type and then over that type's fields. An enum that serde tells apart by its tag would
/// build everything in the map before it knows the type: dozens of bytes for each that came.
fn decode(body: &[u8]) -> Result<Said, FrameError> {
    // serde would take a list of the fields' values, too
    if !matches!(body.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Err(FrameError::Malformed("it is not a MessagePack map"));
    }
    let wire::Type { kind } = read(body)?;
    Ok(match kind.as_str() {
        "hello" => read::<wire::Hello>(body).map(|m| Said::Hello { protocol: m.protocol })?,
        "record" => read::<wire::Record>(body).map(|m| Said::Record { stream: m.stream })?,
        "progress" => {
            read::<wire::Progress>(body).map(|m| Said::Progress { records: m.records, message: m.message })?
        }
        "log" => read::<wire::Log>(body).map(|m| Said::Log { level: m.level, message: m.message })?,
        // it can still be answered, but nothing is built from it
        "call" if body.len() > MAX_CALL_BYTES => {
            read::<wire::CallHead>(body).map(|m| Said::Call { id: m.id, api: m.api, arguments: None })?
        }
        "call" => read::<wire::Call>(body).map(|m| Said::Call {
            id: m.id,
            api: m.api,
            arguments: Some(if m.arguments.is_null() { Value::Object(Map::new()) } else { m.arguments }),
        })?,
        "result" if body.len() > MAX_STATE_BYTES => {
            return Err(FrameError::Malformed("its result is larger than what is recorded, 2 MiB"));
        }
        "result" => read::<wire::Result>(body).map(|m| Said::Result { result: m.result })?,
        "error" => read::<wire::Error>(body).map(|m| Said::Error { message: m.message })?,
        _ => return Err(UNKNOWN),
    })
}

const UNKNOWN: FrameError = FrameError::Malformed("unknown type, or a field is missing or of the wrong kind");

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, FrameError> {
    let mut decoder = rmp_serde::Deserializer::new(std::io::Cursor::new(body));
    decoder.set_max_depth(MAX_NESTING);
    // the decoder's own text may quote values
    let message = T::deserialize(&mut decoder).map_err(|error| match error {
        rmp_serde::decode::Error::DepthLimitExceeded => {
            FrameError::Malformed("its values are nested too deeply")
        }
        rmp_serde::decode::Error::Syntax(_) => UNKNOWN,
        _ => FrameError::Malformed("it is not whole or not MessagePack"),
    })?;
    let used = usize::try_from(decoder.get_ref().position()).unwrap_or(usize::MAX);
    if used == body.len() { Ok(message) } else { Err(FrameError::Malformed("bytes follow its map")) }
}

/// The fields of each message, as they stand in a frame.
mod wire {
    use serde::Deserialize;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    #[derive(Deserialize)]
    pub(super) struct Type {
        #[serde(rename = "type")]
        pub kind: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Hello {
        pub protocol: u64,
    }

    #[derive(Deserialize)]
    pub(super) struct Record {
        pub stream: String,
        #[serde(rename = "record")]
        _record: IgnoredAny,
    }

    #[derive(Deserialize)]
    pub(super) struct Progress {
        #[serde(default)]
        pub records: Option<u64>,
        #[serde(default)]
        pub message: Option<String>,
    }

    #[derive(Deserialize)]
    pub(super) struct Log {
        #[serde(default)]
        pub level: Option<String>,
        pub message: String,
    }

    #[derive(Deserialize)]
    pub(super) struct CallHead {
        pub id: u64,
        pub api: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Call {
        pub id: u64,
        pub api: String,
        #[serde(default)]
        pub arguments: Value,
    }

    #[derive(Deserialize)]
    pub(super) struct Result {
        #[serde(default)]
        pub result: Value,
    }

    #[derive(Deserialize)]
    pub(super) struct Error {
        pub message: String,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn frame(body: &Value) -> Vec<u8> {
        let body = rmp_serde::to_vec_named(body).unwrap();
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Said>, FrameError> {
        let mut reader = FrameReader::default();
        reader.push(bytes);
        let mut said = Vec::new();
        while let Some(message) = reader.next_message()? {
            said.push(message);
        }
        reader.finish().map(|()| said)
    }

    #[test]
    fn messages_are_read_with_their_type_in_any_place() {
        let bytes = [
            frame(
                &json!({"type": "hello", "protocol": 1, "name": "p", "version": "1", "extra": [1, {"a": 2}]}),
            ),
            frame(&json!({"stream": "s", "record": {"deep": [1, 2, {"x": null}]}, "type": "record"})),
            frame(&json!({"type": "progress"})),
            frame(&json!({"type": "call", "id": 7, "api": "bookmarks.read", "arguments": {}})),
            frame(&json!({"type": "result", "result": {"rows": 3}})),
        ];
        let said = read(&bytes.concat()).unwrap();
        assert_eq!(said[0], Said::Hello { protocol: 1 });
        assert!(matches!(&said[1], Said::Record { stream } if stream == "s"));
        assert_eq!(said[2], Said::Progress { records: None, message: None });
        assert_eq!(said[3], Said::Call { id: 7, api: "bookmarks.read".into(), arguments: Some(json!({})) });
        assert_eq!(said[4], Said::Result { result: json!({"rows": 3}) });
    }

    #[test]
    fn a_huge_length_is_refused_before_its_bytes() {
        assert_eq!(read(&[0xff; 4]), Err(FrameError::TooLong(u32::MAX)));
        let one_over = u32::try_from(MAX_FRAME + 1).unwrap();
        assert_eq!(read(&one_over.to_be_bytes()), Err(FrameError::TooLong(one_over)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in [
            json!({"type": "shout"}),
            json!({"type": "log"}),
            json!([1, 2]),
            json!({"type": 1}),
            json!({}),
            json!(["progress"]),
            json!({"type": "record", "stream": "s"}),
        ] {
            assert!(matches!(read(&frame(&bad)), Err(FrameError::Malformed(_))), "{bad}");
        }
        assert!(matches!(read(&[0, 0, 0, 1, 0xc1]), Err(FrameError::Malformed(_))));
        assert!(matches!(read(&[0, 0, 0, 0]), Err(FrameError::Malformed(_))));
        let mut trailing = frame(&json!({"type": "progress"}));
        trailing[3] += 1;
        trailing.push(0xc0);
        assert_eq!(read(&trailing), Err(FrameError::Malformed("bytes follow its map")));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let mut body = vec![0x82, 0xa4];
            body.extend_from_slice(b"type");
            body.push(0xa6);
            body.extend_from_slice(b"result");
            body.push(0xa6);
            body.extend_from_slice(b"result");
            body.extend(std::iter::repeat_n(0x91, depth));
            body.push(0xc0);
            [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
        };
        assert!(read(&nested(16)).is_ok());
        assert!(matches!(read(&nested(100_000)), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn a_result_has_a_bound() {
        let of = |bytes: usize| frame(&json!({"type": "result", "result": {"x": "y".repeat(bytes)}}));
        assert!(read(&of(MAX_STATE_BYTES - 100)).is_ok());
        assert!(
            matches!(read(&of(MAX_STATE_BYTES)), Err(FrameError::Malformed(said)) if said.contains("larger"))
        );
    }

    #[test]
    fn a_call_that_is_too_large_is_heard_without_its_arguments() {
        let of = |bytes: usize| {
            frame(&json!({"type": "call", "id": 1, "api": "a", "arguments": {"x": "y".repeat(bytes)}}))
        };
        let arguments = |bytes| match read(&of(bytes)).unwrap().remove(0) {
            Said::Call { arguments, .. } => arguments,
            other => panic!("{other:?}"),
        };
        assert!(arguments(MAX_CALL_BYTES - 100).is_some());
        assert_eq!(arguments(MAX_CALL_BYTES), None);
    }

    #[test]
    fn half_a_frame_is_told() {
        let whole = frame(&json!({"type": "progress"}));
        for cut in 1..whole.len() {
            assert_eq!(read(&whole[..cut]), Err(FrameError::Half), "{cut}");
        }
        assert!(read(&[]).is_ok());
    }

    #[test]
    fn what_the_host_says_has_named_fields() {
        let (config, parameters) = (json!({"a": 1}), json!({}));
        let says = [
            Says::Execute {
                execution_id: "x".into(),
                operation: "",
                config: &config,
                parameters: &parameters,
            },
            Says::Cancel {},
            Says::Error { id: 1, message: "not granted" },
            Says::Result { id: 1, result: &parameters },
        ];
        for (says, kind) in says.iter().zip(["execute", "cancel", "error", "result"]) {
            let bytes = encode(says).unwrap();
            let body: Value = rmp_serde::from_slice(&bytes[4..]).unwrap();
            assert_eq!(body["type"], json!(kind));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let whole = read(&bytes);
            let mut reader = FrameReader::default();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut said = Vec::new();
            let mut parts = || -> Result<(), FrameError> {
                for part in [first, second] {
                    reader.push(part);
                    while let Some(message) = reader.next_message()? {
                        said.push(message);
                    }
                }
                reader.finish()
            };
            prop_assert_eq!(parts().map(|()| said), whole);
        }
    }
}
