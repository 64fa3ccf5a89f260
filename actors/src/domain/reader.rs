//! Reads definitions from JSON values: checks types, names unknown keys with the nearest known one, and goes on
//! after a problem, so that a person sees all of them at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ids::Name;
use super::problem::Problems;
use super::quantity::{Bytes, parse_bytes, parse_duration};

/// The problems that all readers of one document share.
pub type Shared = Rc<RefCell<Problems>>;

/// One object of the document; [`Object::finish`] reports the keys that nobody asked for.
#[derive(Debug)]
pub struct Object<'v> {
    path: String,
    fields: BTreeMap<&'v str, &'v Value>,
    known: Vec<&'static str>,
    problems: Shared,
}

impl<'v> Object<'v> {
    /// Opens `value` as an object at `path` (empty for the document itself).
    pub fn open(value: &'v Value, path: impl Into<String>, problems: &Shared) -> Self {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let path = path.into();
        let map = value.as_object().unwrap_or_else(|| {
            problems.borrow_mut().add(&path, format!("expected an object, found {}", kind_of(value)));
            &EMPTY
        });
        let fields = map.iter().map(|(k, v)| (k.as_str(), v)).collect();
        Self { path, fields, known: Vec::new(), problems: Rc::clone(problems) }
    }

    /// The path of a key of this object; of the object itself for the empty key.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Reports a problem with a key.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.problems.borrow_mut().add(self.path_of(key), message);
    }

    /// The problems of the whole document.
    #[must_use]
    pub const fn problems(&self) -> &Shared {
        &self.problems
    }

    /// The raw value of a key; `null` counts as absent.
    pub fn value(&mut self, key: &'static str) -> Option<&'v Value> {
        self.known.push(key);
        self.fields.get(key).copied().filter(|v| !v.is_null())
    }

    /// Reports a key that this version does not support yet.
    pub fn not_supported(&mut self, key: &'static str, feature: &str) {
        if self.value(key).is_some() {
            self.problem(key, format!("{key} is not supported yet: it comes with {feature}; remove the key"));
        }
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<&'v str> {
        self.typed(key, "a text", Value::as_str)
    }

    /// A text that must be there; an empty one is reported.
    pub fn required_text(&mut self, key: &'static str) -> String {
        match self.text(key) {
            Some(text) if !text.is_empty() => text.to_owned(),
            found => {
                if found.is_some() || self.is_absent(key) {
                    self.problem(key, format!("{key} is required"));
                }
                String::new()
            }
        }
    }

    /// A name that must be there.
    pub fn name(&mut self, key: &'static str) -> Option<Name> {
        match self.text(key) {
            Some(text) => self.checked(key, Name::new(text)),
            None => {
                if self.is_absent(key) {
                    self.problem(key, format!("{key} is required"));
                }
                None
            }
        }
    }

    /// A truth value.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A number, whole or not.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let number = value.as_u64().filter(|n| range.contains(n));
        if number.is_none() {
            self.problem(key, format!("expected a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A duration such as `30s`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.typed(key, "a duration such as 30s", Value::as_str)?;
        self.checked(key, parse_duration(text))
    }

    /// A size such as `512MiB`, or a plain number of bytes.
    pub fn bytes(&mut self, key: &'static str) -> Option<Bytes> {
        match self.value(key)? {
            Value::String(text) => self.checked(key, parse_bytes(text)),
            Value::Number(n) if n.is_u64() => n.as_u64().map(Bytes),
            other => {
                self.problem(key, format!("expected a size such as 512MiB, found {}", kind_of(other)));
                None
            }
        }
    }

    /// A list of texts; absent is empty.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for (n, item) in self.list(key).iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    let path = format!("{}[{n}]", self.path_of(key));
                    self.problems.borrow_mut().add(path, format!("expected a text, found {}", kind_of(item)));
                }
            }
        }
        texts
    }

    /// A list; absent is empty.
    pub fn list(&mut self, key: &'static str) -> &'v [Value] {
        self.typed(key, "a list", |v| v.as_array().map(Vec::as_slice)).unwrap_or_default()
    }

    /// An object within this one.
    pub fn object(&mut self, key: &'static str) -> Option<Object<'v>> {
        let value = self.value(key)?;
        Some(Object::open(value, self.path_of(key), &self.problems))
    }

    /// One word of a closed set.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.typed(key, "a word", Value::as_str)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(key, format!("{text:?} is not one of {}", all.join(", ")));
        }
        found
    }

    /// Reports every key that was not asked for, with the nearest known one.
    pub fn finish(self) {
        for key in self.fields.keys().filter(|key| !self.known.contains(key)) {
            let nearest =
                nearest(key, &self.known).map_or_else(String::new, |k| format!("; did you mean {k:?}?"));
            self.problems.borrow_mut().add(self.path_of(key), format!("unknown key {key:?}{nearest}"));
        }
    }

    /// Whether nothing, or `null`, is given for a key: what is there but of another type was reported already.
    fn is_absent(&self, key: &str) -> bool {
        self.fields.get(key).is_none_or(|value| value.is_null())
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        get: impl Fn(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let got = get(value);
        if got.is_none() {
            self.problem(key, format!("expected {expected}, found {}", kind_of(value)));
        }
        got
    }

    fn checked<T, E: std::fmt::Display>(&self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(key, error.to_string())).ok()
    }
}

/// The known word most like `word`, when one is alike enough to be meant.
#[must_use]
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), *k))
        .filter(|(distance, k)| *distance <= k.len().max(word.len()) / 3 + 1)
        .min()
        .map(|(_, k)| k)
}

/// What a JSON value is, for people.
#[must_use]
pub const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(value: &Value, read: impl Fn(&mut Object<'_>)) -> Problems {
        let problems = Shared::default();
        let mut object = Object::open(value, "", &problems);
        read(&mut object);
        object.finish();
        problems.take()
    }

    #[test]
    fn null_is_absent() {
        let value = json!({"name": null, "version": null, "note": null});
        let found = problems(&value, |object| {
            assert_eq!(object.name("name"), None);
            assert_eq!(object.required_text("version"), "");
            assert_eq!(object.text("note"), None);
        });
        assert_eq!(found.to_string(), "name: name is required; version: version is required");
    }

    #[test]
    fn one_mistake_is_one_problem() {
        for value in [json!({"name": 7}), json!({"name": "A B"}), json!({}), json!({"name": ""})] {
            let found = problems(&value, |object| assert_eq!(object.name("name"), None));
            assert_eq!(found.0.len(), 1, "{found}");
        }
        for value in [json!({"version": 7}), json!({"version": ""}), json!({})] {
            let found = problems(&value, |object| assert_eq!(object.required_text("version"), ""));
            assert_eq!(found.0.len(), 1, "{found}");
        }
    }

    #[test]
    fn the_nearest_word_is_one_that_may_be_meant() {
        let known = ["depends_on", "description", "retry"];
        assert_eq!(nearest("depend_on", &known), Some("depends_on"));
        assert_eq!(nearest("rerty", &known), Some("retry"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
