//! The frames of the `flexcore` plugin protocol: a 4-byte big-endian length, then a MessagePack map with named
//! fields whose `type` names the message. Only the codec and the messages: no process, no policy.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The largest frame, in bytes without its length. A larger one ends the conversation.
pub const MAX_FRAME: usize = 16 << 20;

/// The version of the protocol that [`FromPlugin::Hello`] names.
pub const PROTOCOL: u32 = 1;

/// How deep values may be nested, as in serde_json. rmp-serde's own limit of 1024 overflows a thread's stack.
const MAX_DEPTH: usize = 128;

/// Memory set aside before the first byte of a frame has come: a length alone buys no more than this.
const FIRST_ALLOCATION: usize = 64 << 10;

/// What a plugin sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromPlugin {
    /// The first frame: who speaks.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The plugin's name.
        name: String,
        /// The plugin's own version.
        version: String,
    },
    /// One record of a stream.
    Record {
        /// The stream's name.
        stream: String,
        /// A JSON-like object.
        record: Value,
    },
    /// How far the work is.
    Progress {
        /// Records so far.
        records: u64,
        /// For people.
        message: String,
    },
    /// One log line.
    Log {
        /// `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        message: String,
    },
    /// A call of an API that the manifest grants; answered by a result or an error of the same id.
    Call {
        /// Chosen by the plugin, unique within the execution.
        id: u64,
        /// Such as `bookmarks.read`.
        api: String,
        /// The call's arguments.
        arguments: Value,
    },
    /// The end of a successful execution.
    Result {
        /// A JSON-like object.
        result: Value,
    },
    /// The end of a failed execution.
    Error {
        /// Why, and what to do about it.
        message: String,
    },
}

/// What the runtime sends to a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToPlugin {
    /// What to do; the first frame.
    Execute {
        /// The execution's id.
        execution_id: String,
        /// The operation's name.
        operation: String,
        /// The plugin's configuration, an object.
        #[serde(default)]
        config: Value,
        /// The operation's parameters, an object.
        #[serde(default)]
        parameters: Value,
    },
    /// The answer to the call of this id.
    Result {
        /// The call's id.
        id: u64,
        /// What the API answered.
        result: Value,
    },
    /// The refusal of the call of this id.
    Error {
        /// The call's id.
        id: u64,
        /// Why.
        message: String,
    },
    /// Stop soon and end with an error.
    Cancel,
}

/// Why a frame could not be read or written.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The length is over [`MAX_FRAME`].
    #[error("frame of {0} bytes is over the limit of {MAX_FRAME} bytes")]
    TooLarge(u64),
    /// The stream ended inside a frame.
    #[error("frame is cut off after {got} of {wanted} bytes")]
    CutOff {
        /// Bytes that came, of the length or of the frame.
        got: usize,
        /// Bytes that were announced.
        wanted: usize,
    },
    /// The frame is not the MessagePack map of a known message.
    #[error("frame is not a message of this protocol: {0}")]
    Malformed(String),
    /// The stream failed.
    #[error("frame could not be moved")]
    Stream(#[from] io::Error),
}

/// Reads one message; `None` when the stream ends between two frames.
///
/// # Errors
/// See [`FrameError`]. After an error the stream cannot be read on.
pub fn read<T: DeserializeOwned>(reader: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    let got = read_up_to(reader, &mut length)?;
    match got {
        0 => return Ok(None),
        4 => {}
        _ => return Err(FrameError::CutOff { got, wanted: 4 }),
    }
    let wanted = u32::from_be_bytes(length) as usize;
    if wanted > MAX_FRAME {
        return Err(FrameError::TooLarge(wanted as u64));
    }
    let mut frame = Vec::with_capacity(wanted.min(FIRST_ALLOCATION));
    let got = reader.take(wanted as u64).read_to_end(&mut frame)?;
    if got < wanted {
        return Err(FrameError::CutOff { got, wanted });
    }
    decode(&frame).map(Some)
}

/// Writes one message; the caller flushes.
///
/// # Errors
/// [`FrameError::TooLarge`] before anything is written, [`FrameError::Stream`] from the writer.
pub fn write(writer: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    let frame = rmp_serde::to_vec_named(message).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    if frame.len() > MAX_FRAME {
        return Err(FrameError::TooLarge(frame.len() as u64));
    }
    writer.write_all(&length.to_be_bytes())?;
    writer.write_all(&frame)?;
    Ok(())
}

/// The whole frame must be one message: what follows it would be silently lost.
fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let mut rest = frame;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(MAX_DEPTH);
    let message =
        T::deserialize(&mut deserializer).map_err(|error| FrameError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(FrameError::Malformed(format!("{} bytes after the message", rest.len())));
    }
    Ok(message)
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(message: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, message).unwrap();
        bytes
    }

    #[test]
    fn messages_come_back_as_they_were_sent() {
        let sent = [
            FromPlugin::Hello { protocol: PROTOCOL, name: "n".into(), version: "1".into() },
            FromPlugin::Record {
                stream: "s".into(),
                record: json!({"a": [1, -2, 1.5, null, true], "b": {}}),
            },
            FromPlugin::Call { id: u64::MAX, api: "bookmarks.read".into(), arguments: json!({}) },
            FromPlugin::Result { result: json!({"records": 3}) },
        ];
        let stream: Vec<u8> = sent.iter().flat_map(frame).collect();
        let mut reader = &stream[..];
        for message in sent {
            assert_eq!(read::<FromPlugin>(&mut reader).unwrap(), Some(message));
        }
        assert_eq!(read::<FromPlugin>(&mut reader).unwrap(), None);
        let cancel = frame(&ToPlugin::Cancel);
        assert_eq!(read::<ToPlugin>(&mut &cancel[..]).unwrap(), Some(ToPlugin::Cancel));
    }

    #[test]
    fn the_type_comes_first_and_unknown_fields_are_ignored() {
        let bytes = frame(&FromPlugin::Error { message: "m".into() });
        assert_eq!(&bytes[4..10], b"\x82\xa4type");
        let extended = frame(&json!({"type": "cancel", "reason": "later versions may say"}));
        assert_eq!(read::<ToPlugin>(&mut &extended[..]).unwrap(), Some(ToPlugin::Cancel));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_reading_on() {
        struct LengthOnly(bool);
        impl Read for LengthOnly {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(!self.0, "nothing is read after the length");
                self.0 = true;
                buffer[..4].copy_from_slice(&u32::MAX.to_be_bytes());
                Ok(4)
            }
        }
        let error = read::<FromPlugin>(&mut LengthOnly(false)).unwrap_err();
        assert!(matches!(error, FrameError::TooLarge(length) if length == u64::from(u32::MAX)));
        let message = FromPlugin::Error { message: "x".repeat(MAX_FRAME) };
        assert!(matches!(write(&mut Vec::new(), &message), Err(FrameError::TooLarge(_))));
    }

    #[test]
    fn broken_frames_are_told_apart() {
        let whole = frame(&ToPlugin::Cancel);
        let cut = read::<ToPlugin>(&mut &whole[..whole.len() - 1]).unwrap_err();
        assert!(matches!(cut, FrameError::CutOff { got, wanted } if got + 1 == wanted));
        let cut = read::<ToPlugin>(&mut &whole[..2]).unwrap_err();
        assert!(matches!(cut, FrameError::CutOff { got: 2, wanted: 4 }));
        for body in
            [&b"\xc1"[..], b"", b"\xa5hello", b"\x81\xa4type\xa7unknown", b"\x81\xa4type\xa6cancel\xc0"]
        {
            let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend_from_slice(body);
            let error = read::<ToPlugin>(&mut &bytes[..]).unwrap_err();
            assert!(matches!(error, FrameError::Malformed(_)), "{body:?} {error}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_an_overflow() {
        let mut body = b"\x82\xa4type\xa6result\xa6result".to_vec();
        body.extend(std::iter::repeat_n(0x91, 1 << 20));
        body.push(0xc0);
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(body);
        assert!(matches!(read::<FromPlugin>(&mut &bytes[..]), Err(FrameError::Malformed(_))));
    }
}
