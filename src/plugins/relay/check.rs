//! Is this line a Singer message? Pure; the relay's hot path. What the message *means* is the target's business:
//! unknown types pass, a line that is no message does not.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};

use crate::plugins::limits::EXCERPT_CHARS;

/// What the relay must know about a good line.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'l> {
    /// Its kind.
    pub kind: Kind,
    /// Its stream; empty when it names none.
    pub stream: Cow<'l, str>,
    /// Whether every number in it is JSON's; Python also writes `NaN` and `Infinity`.
    pub finite: bool,
}

/// Kinds of Singer messages that the relay tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record.
    Record,
    /// A bookmark.
    State,
    /// A schema, a batch, an activation or what a dialect adds.
    Other,
}

/// Why a line is no Singer message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not UTF-8, from this byte of the line on (counted from 1).
    NotUtf8(usize),
    /// Not JSON, from this column on; with the beginning of a line that is plain text.
    NotJson(usize, Option<String>),
    /// JSON, but no object with a text `type`.
    NoType,
    /// A record or schema without a stream.
    NoStream,
    /// Longer than `limits.line`, in bytes.
    TooLong(usize),
    /// A bookmark larger than the store keeps, in bytes.
    StateTooLong(usize),
    /// The output ended within the line.
    Half,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8(at) => write!(f, "is not UTF-8 (byte {at})"),
            Self::NotJson(column, None) => write!(f, "is not JSON (column {column})"),
            Self::NotJson(_, Some(text)) => {
                write!(f, "is not a Singer message but the text {text:?}; a tap must log to standard error")
            }
            Self::NoType => f.write_str("is JSON but not a Singer message: it has no text \"type\""),
            Self::NoStream => f.write_str("is a record or schema without a \"stream\""),
            Self::TooLong(limit) => {
                write!(
                    f,
                    "is longer than limits.line ({limit} bytes); raise limits.line in the plugin's manifest"
                )
            }
            Self::StateTooLong(limit) => write!(f, "is a bookmark of more than {limit} bytes"),
            Self::Half => f.write_str("is cut off: the output ended within it"),
        }
    }
}

/// Checks one line without its newline.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(line: &[u8]) -> Result<Message<'_>, Fault> {
    let text = str::from_utf8(line).map_err(|e| Fault::NotUtf8(e.valid_up_to() + 1))?;
    // serde would take a list of the fields' values for an object
    if !text.trim_start().starts_with('{') {
        let parsed = serde_json::from_str::<IgnoredAny>(text);
        return Err(parsed.map_or_else(|error| fault_of(text, &error), |_| Fault::NoType));
    }
    let (raw, finite) = match serde_json::from_str::<Raw<'_>>(text) {
        Ok(raw) => (raw, true),
        Err(error) => {
            let finite_text = without_non_finite(line).ok_or_else(|| fault_of(text, &error))?;
            let raw: Raw<'_> = serde_json::from_slice(&finite_text).map_err(|e| fault_of(text, &e))?;
            let raw = Raw { kind: raw.kind.into_owned(), stream: raw.stream.into_owned() };
            (raw, false)
        }
    };
    let kind = kind_of(&raw.kind.0).ok_or(Fault::NoType)?;
    let needs_stream = kind == Kind::Record || raw.kind.0.eq_ignore_ascii_case("SCHEMA");
    if needs_stream && raw.stream.0.is_empty() {
        return Err(Fault::NoStream);
    }
    Ok(Message { kind, stream: raw.stream.0, finite })
}

/// Whether a line holds nothing but white space.
#[must_use]
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
}

fn kind_of(word: &str) -> Option<Kind> {
    match word {
        "" => None,
        _ if word.eq_ignore_ascii_case("RECORD") => Some(Kind::Record),
        _ if word.eq_ignore_ascii_case("STATE") => Some(Kind::State),
        _ => Some(Kind::Other),
    }
}

/// The two fields that the relay reads; everything else is checked and skipped without being built.
#[derive(serde::Deserialize)]
struct Raw<'l> {
    #[serde(borrow, rename = "type", default)]
    kind: Text<'l>,
    #[serde(borrow, default)]
    stream: Text<'l>,
}

/// A text that is borrowed from the line unless it holds escapes; `null` is empty.
#[derive(Default)]
struct Text<'l>(Cow<'l, str>);

impl Text<'_> {
    fn into_owned<'any>(self) -> Text<'any> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for Text<'l> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }
        from.deserialize_any(TextVisitor)
    }
}

/// What to say about a line that does not parse. The parser's own text is not used: it may quote the data.
fn fault_of(text: &str, error: &serde_json::Error) -> Fault {
    if error.is_data() {
        return Fault::NoType;
    }
    let trimmed = text.trim_start();
    // a line that begins like JSON is probably a record, and records are not shown in errors
    let looks_like_json = trimmed.starts_with(['{', '[', '"']);
    let excerpt = (!looks_like_json).then(|| trimmed.chars().take(EXCERPT_CHARS).collect());
    Fault::NotJson(error.column(), excerpt)
}

/// The line with `NaN`, `Infinity` and `-Infinity` outside of texts replaced by zeros of the same length; `None`
/// when it holds none of them.
fn without_non_finite(line: &[u8]) -> Option<Vec<u8>> {
    let mut copy: Option<Vec<u8>> = None;
    let (mut in_text, mut at) = (false, 0);
    while at < line.len() {
        match line[at] {
            b'"' => in_text = !in_text,
            b'\\' if in_text => at += 1,
            b'N' | b'I' if !in_text => {
                let word =
                    [&b"NaN"[..], b"Infinity"].into_iter().find(|word| line[at..].starts_with(word))?;
                let copy = copy.get_or_insert_with(|| line.to_vec());
                copy[at] = b'0';
                copy[at + 1..at + word.len()].fill(b' ');
                at += word.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> Result<Kind, Fault> {
        check(line.as_bytes()).map(|m| m.kind)
    }

    #[test]
    fn messages_of_every_kind_pass() {
        assert_eq!(kind(r#"{"type":"RECORD","stream":"a","record":{}}"#), Ok(Kind::Record));
        assert_eq!(kind(r#" {"record":{"type":"x"},"stream":"a","type":"record"} "#), Ok(Kind::Record));
        assert_eq!(kind(r#"{"type":"State","value":null}"#), Ok(Kind::State));
        assert_eq!(kind(r#"{"type":"STATE","stream":null,"value":{}}"#), Ok(Kind::State));
        assert_eq!(kind(r#"{"type":"SCHEMA","stream":"a","schema":{}}"#), Ok(Kind::Other));
        assert_eq!(kind(r#"{"type":"HOUSE_DIALECT"}"#), Ok(Kind::Other));
        assert_eq!(kind("{\"type\":\"STATE\",\"value\":1}\r"), Ok(Kind::State));
        let deep = format!(
            r#"{{"type":"RECORD","stream":"a","record":{}1{}}}"#,
            "[".repeat(5_000),
            "]".repeat(5_000)
        );
        assert_eq!(kind(&deep), Ok(Kind::Record));
    }

    #[test]
    fn a_stream_is_unescaped() {
        assert_eq!(check(br#"{"type":"RECORD","stream":"caf\u00e9"}"#).unwrap().stream, "café");
    }

    #[test]
    fn pythons_numbers_pass_and_are_told() {
        for number in ["NaN", "Infinity", "-Infinity"] {
            let line =
                format!(r#"{{"type":"RECORD","stream":"a","record":{{"x":{number},"s":"NaN \" I"}}}}"#);
            let message = check(line.as_bytes()).unwrap();
            assert_eq!((message.kind, message.finite), (Kind::Record, false), "{number}");
        }
        let text_only = check(br#"{"type":"RECORD","stream":"a","record":{"x":"NaN"}}"#).unwrap();
        assert!(text_only.finite);
        for bad in ["Nan", "-NaN-", "Infinit", "NaNN", "None", "Inf"] {
            let line = format!(r#"{{"type":"RECORD","stream":"a","record":{{"x":{bad}}}}}"#);
            assert!(kind(&line).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        let excerpt = |text: &str| Err(Fault::NotJson(1, Some(text.to_owned())));
        assert_eq!(kind("INFO starting"), excerpt("INFO starting"));
        assert!(matches!(
            kind(r#"{"type":"RECORD","stream":"a","record":{"x":1"#),
            Err(Fault::NotJson(_, None))
        ));
        assert!(matches!(kind(r#"{"type":"STATE"}{"type":"STATE"}"#), Err(Fault::NotJson(_, None))));
        for no_type in
            ["1", "null", "[]", "{}", r#""text""#, r#"{"type":1}"#, r#"{"type":""}"#, r#"["RECORD","a"]"#]
        {
            assert_eq!(kind(no_type), Err(Fault::NoType), "{no_type}");
        }
        assert_eq!(kind(r#"{"type":"RECORD","record":{}}"#), Err(Fault::NoStream));
        assert_eq!(kind(r#"{"type":"SCHEMA","stream":""}"#), Err(Fault::NoStream));
        assert_eq!(check(b"{\"type\":\"\xff\"}"), Err(Fault::NotUtf8(10)));
    }

    #[test]
    fn excerpts_are_short() {
        let Err(Fault::NotJson(_, Some(text))) = kind(&"x".repeat(1_000)) else { panic!("not told") };
        assert_eq!(text.len(), EXCERPT_CHARS);
    }
}
