//! YAML (and JSON, its subset) text to JSON values, keeping the line and column of every field, so that a problem
//! can be shown where it was written. Never in here: what any key means.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value};

/// Largest text, bytes: the same bound as an HTTP body, where most of it ends.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting; deeper values would be walked by recursion later.
pub const MAX_DEPTH: usize = 64;
/// Most nodes that aliases may copy, over all documents: small anchors can name each other and grow exponentially.
pub const MAX_ALIASED_NODES: usize = 10_000;

/// A place in a text; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    start: Mark,
    lines: HashMap<String, Mark>,
}

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {message}", mark.line, mark.column)]
pub struct YamlError {
    /// Where.
    pub mark: Mark,
    /// What is wrong there.
    pub message: String,
}

impl Document {
    /// Where `field` (a path such as `steps[1].retry.attempts`) was written, or the nearest thing around it when it
    /// is absent, or the document's beginning.
    #[must_use]
    pub fn position(&self, field: &str) -> Mark {
        let mut path = field;
        loop {
            if let Some(mark) = self.lines.get(path) {
                return *mark;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => return self.start,
            }
        }
    }
}

/// Reads every document of `text`; empty ones are left out.
///
/// # Errors
/// The first thing that is wrong, and where: malformed YAML, a duplicate or non-text key, NaN or infinity, a tag
/// that is not YAML's own, or one of this module's bounds.
pub fn parse(text: &str) -> Result<Vec<Document>, YamlError> {
    if text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(YamlError { mark: Mark { line: 1, column: 1 }, message });
    }
    let mut builder = Builder::default();
    let mut documents = Vec::new();
    let text = join_surrogates(text);
    let mut parser = Parser::new_from_str(&text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| scan_error(&error))?;
        if matches!(event, Event::DocumentEnd) {
            documents.extend(builder.finish_document());
        } else {
            builder.event(event, mark(&span.start))?;
        }
    }
    Ok(documents)
}

/// JSON writes characters beyond the first plane as two `\\uXXXX` escapes (Python's `json.dumps` does), which YAML
/// does not know: they become YAML's one `\\UXXXXXXXX`. Only where the text is JSON, whose texts are all quoted.
fn join_surrogates(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with(['{', '[']) || !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut joined = String::with_capacity(text.len());
    let mut rest = 0;
    while let Some(found) = text[rest..].find('\\') {
        let at = rest + found;
        joined.push_str(&text[rest..at]);
        let pair = unit(at).zip(unit(at + 6)).and_then(|(high, low)| {
            char::decode_utf16([high, low]).next()?.ok().filter(|c| u32::from(*c) > 0xFFFF)
        });
        // anything else keeps the backslash and what it escapes, which may be another backslash
        rest = match pair {
            Some(c) => {
                joined.push_str(&format!("\\U{:08X}", u32::from(c)));
                at + 12
            }
            None => {
                let escaped = text[at + 1..].chars().next().map_or(0, char::len_utf8);
                joined.push_str(&text[at..at + 1 + escaped]);
                at + 1 + escaped
            }
        };
    }
    joined.push_str(&text[rest..]);
    Cow::Owned(joined)
}

fn scan_error(error: &ScanError) -> YamlError {
    YamlError { mark: mark(error.marker()), message: error.info().to_owned() }
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col() + 1 }
}

/// A list or object that is being read.
struct Frame {
    path: String,
    anchor: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Value>),
    Map { entries: Map<String, Value>, key: Option<String> },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    root: Option<(Value, Mark)>,
    lines: HashMap<String, Mark>,
    /// Values by anchor, with how many nodes each has.
    anchors: HashMap<usize, (Value, usize)>,
    aliased: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Mark) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.expects_key() {
                    return self.key(text.into_owned(), style, at);
                }
                let value = scalar(&text, style, tag.as_deref()).map_err(|m| fail(at, m))?;
                self.note_anchor(anchor, &value);
                self.place(value, at);
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(FrameKind::List(Vec::new()), anchor, tag.as_deref(), at)?;
            }
            Event::MappingStart(anchor, tag) => {
                let kind = FrameKind::Map { entries: Map::new(), key: None };
                self.open(kind, anchor, tag.as_deref(), at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let frame = self.stack.pop().expect("the parser balances starts and ends");
                let value = match frame.kind {
                    FrameKind::List(items) => Value::Array(items),
                    FrameKind::Map { entries, .. } => Value::Object(entries),
                };
                self.note_anchor(frame.anchor, &value);
                self.place(value, at);
            }
            Event::Alias(anchor) => self.alias(anchor, at)?,
            _ => {}
        }
        Ok(())
    }

    fn finish_document(&mut self) -> Option<Document> {
        let lines = std::mem::take(&mut self.lines);
        let (value, start) = self.root.take().filter(|(value, _)| !value.is_null())?;
        Some(Document { value, start, lines })
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { kind: FrameKind::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, text: String, style: ScalarStyle, at: Mark) -> Result<(), YamlError> {
        if style == ScalarStyle::Plain && !matches!(plain(&text), Ok(Value::String(_))) {
            return Err(fail(at, format!("the key {text} is not a text: write it in quotes")));
        }
        let frame = self.stack.last_mut().expect("a key is only read inside an object");
        let FrameKind::Map { entries, key } = &mut frame.kind else { return Ok(()) };
        if entries.contains_key(&text) {
            return Err(fail(at, format!("the key {text:?} stands here twice")));
        }
        let path = if frame.path.is_empty() { text.clone() } else { format!("{}.{text}", frame.path) };
        *key = Some(text);
        self.lines.insert(path, at);
        Ok(())
    }

    fn open(&mut self, kind: FrameKind, anchor: usize, tag: Option<&Tag>, at: Mark) -> Result<(), YamlError> {
        if self.expects_key() {
            return Err(fail(at, "a key must be a text, not a list or an object"));
        }
        if self.stack.len() == MAX_DEPTH {
            return Err(fail(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(fail(at, format!("the tag {tag} is not supported: remove it")));
        }
        let path = self.path_here();
        self.note_line(&path, at);
        self.stack.push(Frame { path, anchor, kind });
        Ok(())
    }

    /// The path of the value that comes next.
    fn path_here(&self) -> String {
        match self.stack.last() {
            None => String::new(),
            Some(Frame { path, kind: FrameKind::List(items), .. }) => format!("{path}[{}]", items.len()),
            Some(Frame { path, kind: FrameKind::Map { key, .. }, .. }) => match (path.as_str(), key) {
                (_, None) => path.clone(),
                ("", Some(key)) => key.clone(),
                (_, Some(key)) => format!("{path}.{key}"),
            },
        }
    }

    /// Notes where a value begins; a key's own place is the better one and stays.
    fn note_line(&mut self, path: &str, at: Mark) {
        self.lines.entry(path.to_owned()).or_insert(at);
    }

    fn place(&mut self, value: Value, at: Mark) {
        let path = self.path_here();
        self.note_line(&path, at);
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            None => {
                let start = self.lines.get("").copied().unwrap_or(at);
                self.root = Some((value, start));
            }
            Some(FrameKind::List(items)) => items.push(value),
            Some(FrameKind::Map { entries, key }) => {
                if let Some(key) = key.take() {
                    entries.insert(key, value);
                }
            }
        }
    }

    fn note_anchor(&mut self, anchor: usize, value: &Value) {
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), nodes(value)));
        }
    }

    fn alias(&mut self, anchor: usize, at: Mark) -> Result<(), YamlError> {
        let Some((value, nodes)) = self.anchors.get(&anchor) else {
            return Err(fail(at, "this alias names a value that has not ended yet"));
        };
        self.aliased += nodes;
        if self.aliased > MAX_ALIASED_NODES {
            return Err(fail(at, format!("aliases copy more than {MAX_ALIASED_NODES} values")));
        }
        if self.stack.len() + depth(value) > MAX_DEPTH {
            return Err(fail(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let value = value.clone();
        match value {
            Value::String(text) if self.expects_key() => self.key(text, ScalarStyle::DoubleQuoted, at),
            _ if self.expects_key() => Err(fail(at, "a key must be a text")),
            value => {
                self.place(value, at);
                Ok(())
            }
        }
    }
}

fn fail(mark: Mark, message: impl Into<String>) -> YamlError {
    YamlError { mark, message: message.into() }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(entries) => entries.values().map(nodes).sum(),
        _ => 0,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(format!("the tag {tag} is not supported: remove it")),
        Some(tag) if tag.suffix == "str" => Ok(Value::String(text.to_owned())),
        _ if style != ScalarStyle::Plain => Ok(Value::String(text.to_owned())),
        _ => plain(text),
    }
}

/// An unquoted word by YAML 1.2's core schema (so `no` and `on` are texts).
fn plain(text: &str) -> Result<Value, String> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") => {
            return Err(format!("{text} cannot be stored: write a finite number, or a text in quotes"));
        }
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => match number(text) {
            Some(number) => Value::Number(number),
            None => Value::String(text.to_owned()),
        },
        _ => Value::String(text.to_owned()),
    })
}

fn number(text: &str) -> Option<Number> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests;
