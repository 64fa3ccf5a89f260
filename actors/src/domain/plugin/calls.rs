//! The calls of the flexcore protocol: which there are, what a program may say in them, and how that is read. Never in
//! here: who may make them (`capabilities`, `policy`) and what answers them (the runtime).

use serde_json::Value;

use super::capabilities::shortened;
use crate::domain::ids::{Name, StreamId};
use crate::domain::problem::Problems;
use crate::domain::reader::{Object, Shared, nearest};

/// Longest type of a published event, bytes.
const MAX_EVENT_TYPE: usize = 100;

/// Longest key of a published event, bytes.
const MAX_EVENT_KEY: usize = 200;

/// A call, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `bookmarks.read`: the bookmarks of the execution's own pipeline.
    ReadBookmarks {
        /// Only this step's.
        step: Option<Name>,
    },
    /// `events.publish`: an event into a stream of its own kind.
    PublishEvent {
        /// `external-<name>`.
        stream: StreamId,
        /// What happened.
        kind: String,
        /// Whatever belongs to it.
        data: Value,
        /// With the same key a step publishes once, however often it is tried.
        key: Option<String>,
    },
}

/// Every call there is: its name, and how its arguments are read.
const TABLE: [(&str, Read); API_CALLS.len()] =
    [(API_CALLS[0], read_bookmarks), (API_CALLS[1], publish_event)];

/// Reads the arguments of a call, telling what is wrong; a call, unless it cannot be built.
type Read = fn(&mut Object<'_>) -> Option<Call>;

/// The names of the calls, as manifests grant them.
pub const API_CALLS: &[&str] = &["bookmarks.read", "events.publish"];

/// Whether there is a call of that name.
///
/// # Errors
/// That there is none, and which was meant perhaps.
pub fn known_call(name: &str) -> Result<(), String> {
    if API_CALLS.contains(&name) {
        return Ok(());
    }
    let shown = shortened(name);
    let hint =
        nearest(&shown, API_CALLS).map_or_else(String::new, |known| format!("; did you mean {known:?}?"));
    Err(format!("{shown:?} is no call of the flexcore protocol{hint}"))
}

impl Call {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// Everything that is wrong with them, or that there is no such call.
    pub fn read(name: &str, arguments: &Value) -> Result<Self, Problems> {
        let problems = Shared::default();
        let Some((_, read)) = TABLE.iter().find(|(known, _)| *known == name) else {
            let mut unknown = Problems::default();
            unknown.add("api", known_call(name).err().unwrap_or_default());
            return Err(unknown);
        };
        let mut object = Object::open(arguments, "arguments", &problems);
        let call = read(&mut object);
        object.finish();
        let problems = problems.take();
        // without a problem there is a call
        call.filter(|_| problems.0.is_empty()).ok_or(problems)
    }
}

fn read_bookmarks(arguments: &mut Object<'_>) -> Option<Call> {
    let given = arguments.text("step");
    let step = given.and_then(|_| arguments.name("step"));
    Some(Call::ReadBookmarks { step })
}

fn publish_event(arguments: &mut Object<'_>) -> Option<Call> {
    let name = arguments.required_text("stream");
    let stream = Name::new(name.strip_prefix("external-").unwrap_or_default()).ok();
    if stream.is_none() && !name.is_empty() {
        arguments.problem("stream", "expected external-<name>: no other streams take events of programs");
    }
    let kind = arguments.required_text("type");
    if !kind.is_empty() && !is_event_type(&kind) {
        let message =
            format!("expected up to {MAX_EVENT_TYPE} letters, digits, dots, dashes and underscores");
        arguments.problem("type", message);
    }
    let key = arguments.text("key").map(str::to_owned);
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_EVENT_KEY) {
        arguments.problem("key", format!("expected 1 to {MAX_EVENT_KEY} bytes"));
    }
    let data = arguments.value("data").cloned().unwrap_or_default();
    Some(Call::PublishEvent { stream: StreamId::external(&stream?), kind, data, key })
}

fn is_event_type(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    text.len() <= MAX_EVENT_TYPE && text.bytes().all(word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_read() {
        let all = Call::read("bookmarks.read", &json!({})).unwrap();
        assert_eq!(all, Call::ReadBookmarks { step: None });
        let one = Call::read("bookmarks.read", &json!({"step": "load"})).unwrap();
        assert_eq!(one, Call::ReadBookmarks { step: Some(Name::new("load").unwrap()) });
        let arguments =
            json!({"stream": "external-orders", "type": "orders.loaded", "data": {"n": 1}, "key": "k"});
        let Call::PublishEvent { stream, kind, data, key } =
            Call::read("events.publish", &arguments).unwrap()
        else {
            panic!("it is an event")
        };
        assert_eq!((stream.as_str(), kind.as_str()), ("external-orders", "orders.loaded"));
        assert_eq!((data, key.as_deref()), (json!({"n": 1}), Some("k")));
    }

    #[test]
    fn what_is_wrong_is_named_all_at_once() {
        for (call, arguments, expected) in [
            ("events.publsh", json!({}), "did you mean \"events.publish\"?"),
            ("bookmarks.read", json!([]), "arguments: expected an object"),
            ("bookmarks.read", json!({"steps": "a"}), "arguments.steps"),
            ("bookmarks.read", json!({"step": "A B"}), "arguments.step"),
            ("events.publish", json!({"stream": "pipeline-p", "type": "t"}), "expected external-<name>"),
            ("events.publish", json!({"stream": "external-", "type": "t"}), "expected external-<name>"),
            (
                "events.publish",
                json!({"stream": "external-a", "type": "a b"}),
                "arguments.type: expected up to",
            ),
            ("events.publish", json!({"stream": "external-a"}), "arguments.type: type is required"),
            ("events.publish", json!({"stream": "external-a", "type": "t", "key": ""}), "arguments.key"),
        ] {
            let problems = Call::read(call, &arguments).unwrap_err().to_string();
            assert!(problems.contains(expected), "{call} {arguments}: {problems}");
        }
        let both = Call::read("events.publish", &json!({})).unwrap_err();
        assert_eq!(both.0.len(), 2, "{both}");
    }
}
