//! Hides configuration values in what a program printed before it is shown in an error. Pure.

use serde_json::Value;

use super::limits::REDACT_MIN_CHARS;

/// Shown instead of a hidden value.
const HIDDEN: &str = "***";

/// The texts of a configuration, longest first.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<String>);

impl Redactor {
    /// Hides every text in `config` that is long enough to be told from common words.
    #[must_use]
    pub fn new(config: &Value) -> Self {
        let mut texts = Vec::new();
        collect(config, &mut texts);
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Self(texts)
    }

    /// The text with every hidden value replaced. A value that the text cuts off is not recognised, so cut after.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, hidden| text.replace(hidden, HIDDEN))
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.chars().count() >= REDACT_MIN_CHARS => texts.push(text.clone()),
        Value::Number(number) if number.to_string().len() >= REDACT_MIN_CHARS => {
            texts.push(number.to_string())
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_hidden_wherever_they_are() {
        let redactor = Redactor::new(&json!({"a": {"password": "hunter2"}, "pins": [987_654], "b": "x"}));
        assert_eq!(redactor.redact("login hunter2 with 987654, x"), "login *** with ***, x");
    }

    #[test]
    fn a_longer_value_is_hidden_whole() {
        let redactor = Redactor::new(&json!(["pass", "password1"]));
        assert_eq!(redactor.redact("password1"), "***");
    }
}
