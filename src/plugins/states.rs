//! The standard output of the program that ends a pipe: its bookmarks, one a line, among what else it prints.

use flexcore_actors::ports::plugin_host::HostEvent;
use serde_json::Value;
use tokio::sync::mpsc;

use super::limits::{LOG_READ, MAX_STATE_BYTES};
use super::log::{ProgramLog, Stream};
use super::output::{Line, LineCutter, Output};

/// What one line of a target's standard output is.
#[derive(Debug, PartialEq)]
pub enum Printed {
    /// A bookmark.
    State(Value),
    /// A bookmark that says nothing and must not replace one: `null` or `{}`.
    Empty,
    /// Text, for the log.
    Text,
    /// An object larger than a bookmark may be.
    TooLarge,
}

/// Whether a value may become a bookmark: an object that is not empty.
#[must_use]
pub fn is_bookmark(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.is_empty())
}

/// Reads one line of a target: the bare value of a `STATE` as targets print it, or the whole message.
#[must_use]
pub fn classify(line: &Line) -> Printed {
    let start = line.bytes.iter().find(|b| !b.is_ascii_whitespace());
    if start == Some(&b'{') && (line.cut || line.bytes.len() > MAX_STATE_BYTES) {
        return Printed::TooLarge;
    }
    match serde_json::from_slice::<Value>(&line.bytes) {
        Ok(Value::Null) => Printed::Empty,
        Ok(Value::Object(mut object)) => {
            let is_message =
                object.get("type").and_then(Value::as_str).is_some_and(|t| t.eq_ignore_ascii_case("STATE"));
            let value = match object.remove("value") {
                Some(value) if is_message => value,
                Some(value) => {
                    object.insert("value".to_owned(), value);
                    Value::Object(object)
                }
                None => Value::Object(object),
            };
            if is_bookmark(&value) { Printed::State(value) } else { Printed::Empty }
        }
        _ => Printed::Text,
    }
}

/// Reads to the end: hands over bookmarks in order (waiting when the receiver is slow), logs the rest.
///
/// # Errors
/// What is wrong with a bookmark that cannot be kept, at once; the rest of the output is then not read.
pub async fn read(
    mut output: Output,
    log: ProgramLog,
    events: mpsc::Sender<HostEvent>,
) -> Result<(), String> {
    let (mut cutter, mut buffer) = (LineCutter::new(MAX_STATE_BYTES), vec![0; LOG_READ]);
    loop {
        let count =
            output.read(&mut buffer).await.map_err(|e| format!("its output could not be read: {e}"))?;
        let lines =
            if count == 0 { cutter.finish().into_iter().collect() } else { cutter.push(&buffer[..count]) };
        for line in lines {
            match classify(&line) {
                // nobody listens when the attempt was given up; the program is being ended then
                Printed::State(value) => _ = events.send(HostEvent::State(value)).await,
                Printed::Empty => {}
                Printed::Text => log.lines(Stream::Stdout, &[line]),
                Printed::TooLarge => {
                    return Err(format!("it printed a bookmark of more than {MAX_STATE_BYTES} bytes"));
                }
            }
        }
        if count == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(text: &str) -> Printed {
        classify(&Line { bytes: text.as_bytes().to_vec(), cut: false })
    }

    #[test]
    fn bare_values_and_messages_are_bookmarks() {
        let state = || Printed::State(json!({"bookmarks": {"a": 1}}));
        assert_eq!(printed(r#"{"bookmarks":{"a":1}}"#), state());
        assert_eq!(printed(r#"{"type":"state","value":{"bookmarks":{"a":1}}}"#), state());
        let own_fields = json!({"type": "x", "value": 1});
        assert_eq!(printed(r#"{"type":"x","value":1}"#), Printed::State(own_fields));
    }

    #[test]
    fn nothing_never_replaces_a_bookmark() {
        for empty in ["null", "{}", r#"{"type":"STATE","value":null}"#, r#"{"type":"STATE","value":{}}"#] {
            assert_eq!(printed(empty), Printed::Empty, "{empty}");
        }
    }

    #[test]
    fn the_rest_is_text() {
        for text in ["INFO done", "1", "[1]", "", r#""x""#, "{broken"] {
            assert_eq!(printed(text), Printed::Text, "{text}");
        }
        let cut = |bytes: &[u8]| classify(&Line { bytes: bytes.to_vec(), cut: true });
        assert_eq!(cut(b" {\"a\""), Printed::TooLarge);
        assert_eq!(cut(b"text"), Printed::Text);
    }
}
