//! Hides configuration values in what a program printed: all of them before it is shown in an error, those that are
//! secrets by their name or their schema also in its log. What came from the store of secrets is hidden in every form it
//! may take. Pure.

mod forms;

use flexcore_actors::domain::secret::SecretValue;
use serde_json::Value;

use super::limits::REDACT_MIN_CHARS;

/// Shown instead of a hidden value.
const HIDDEN: &str = "***";

/// What the name of a secret setting contains, in small letters without `_` and `-`.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
];
/// What a JSON Schema says of a secret: the standard's word, and the one of the Singer SDK.
const SECRET_WORDS: [&str; 2] = ["writeOnly", "secret"];

/// The texts of a configuration, longest first.
#[derive(Clone, Default)]
pub struct Redactor(Vec<String>);

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor of {} texts", self.0.len())
    }
}

impl Redactor {
    /// Hides every text in `config` that is long enough to be told from common words.
    #[must_use]
    pub fn new(config: &Value) -> Self {
        let mut texts = Vec::new();
        collect(config, &mut texts);
        Self::of(texts)
    }

    /// Hides only what is secret: what stands under a name such as `password`, or is marked as secret in the plugin's
    /// `config_schema`. A log in which every path is hidden would be of no use.
    #[must_use]
    pub fn of_secrets(config: &Value, schema: &Value) -> Self {
        let mut texts = Vec::new();
        collect_secrets(config, schema, &mut texts);
        Self::of(texts)
    }

    fn of(mut texts: Vec<String>) -> Self {
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        texts.dedup();
        Self(texts)
    }

    /// The same, hiding secrets too.
    #[must_use]
    pub fn hiding<'s>(self, secrets: impl IntoIterator<Item = &'s SecretValue>) -> Self {
        let mut texts = self.0;
        texts.extend(secrets.into_iter().flat_map(|secret| forms::forms(secret.reveal())));
        Self::of(texts)
    }

    /// The same, hiding what another hides too.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self::of([self.0, other.0.clone()].concat())
    }

    /// The text with every hidden value replaced. A value that the text cuts off is not recognised, so cut after, or
    /// use [`Redactor::redact_cut`].
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, hidden| {
            if text.contains(hidden) { text.replace(hidden, HIDDEN) } else { text }
        })
    }

    /// The same for a text whose end was cut off: what may be the beginning of a hidden value goes too.
    #[must_use]
    pub fn redact_cut(&self, text: &str) -> String {
        let mut text = self.redact(text.trim_end_matches(char::REPLACEMENT_CHARACTER));
        let begun = self.0.iter().filter_map(|hidden| begun_at(&text, hidden)).min();
        if let Some(start) = begun {
            text.truncate(start);
            text.push_str(HIDDEN);
        }
        text
    }
}

/// Where in a text a beginning of `hidden` begins that goes to the text's end, and is long enough to be told from
/// chance.
fn begun_at(text: &str, hidden: &str) -> Option<usize> {
    let beginnings = hidden.char_indices().skip(REDACT_MIN_CHARS).map(|(end, _)| &hidden[..end]);
    let begun = beginnings.filter(|beginning| text.ends_with(beginning)).last()?;
    Some(text.len() - begun.len())
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

fn collect_secrets(value: &Value, schema: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, &schema["items"], texts)),
        Value::Object(fields) => {
            for (name, field) in fields {
                let schema = &schema["properties"][name];
                if is_secret(name, schema) {
                    collect(field, texts);
                } else {
                    collect_secrets(field, schema, texts);
                }
            }
        }
        _ => {}
    }
}

fn is_secret(name: &str, schema: &Value) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_NAMES.iter().any(|part| plain.contains(part))
        || SECRET_WORDS.iter().any(|word| schema[*word] == Value::Bool(true))
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
    fn secrets_are_hidden_in_every_form() {
        let secrets = [SecretValue::new(b"hunter2/x".to_vec()).unwrap()];
        let redactor = Redactor::new(&json!({"a": "plain"})).hiding(&secrets);
        let line = "plain: hunter2/x hunter2%2Fx aHVudGVyMi94";
        assert_eq!(redactor.redact(line), "***: *** *** ***");
        assert_eq!(Redactor::default().and(&redactor).redact(line), "***: *** *** ***");
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_cut_leaves_of_a_secret_is_hidden() {
        let redactor = Redactor::default().hiding(&[SecretValue::new("hunter2-ä-hunter3".into()).unwrap()]);
        for (cut, expected) in [
            ("it is hunter2-", "it is ***"),
            ("it is hunter2-ä-hunter", "it is ***"),
            ("it is hunter2-\u{fffd}", "it is ***"),
            ("it is hunter2-ä-hunter3", "it is ***"),
            ("it is hun", "it is hun"),
            ("it is hunter1", "it is hunter1"),
        ] {
            assert_eq!(redactor.redact_cut(cut), expected, "{cut}");
        }
    }

    #[test]
    fn a_longer_value_is_hidden_whole() {
        let redactor = Redactor::new(&json!(["pass", "password1"]));
        assert_eq!(redactor.redact("password1"), "***");
    }

    #[test]
    fn a_log_hides_what_is_secret_by_name_or_schema_and_nothing_else() {
        let config = json!({"path": "/data/in", "primary_keys": ["date"], "env": {"DB_PASSWORD": "hunter2"},
                            "api-key": 123_456, "conn": {"dsn": "user:pw@host"}, "empty_secret": ""});
        let schema = json!({"properties": {"conn": {"properties": {"dsn": {"writeOnly": true}}}}});
        let redactor = Redactor::of_secrets(&config, &schema);
        let line = "/data/in by date: hunter2 123456 user:pw@host";
        assert_eq!(redactor.redact(line), "/data/in by date: *** *** ***");
        assert_eq!(Redactor::of_secrets(&json!(null), &json!({})).redact(line), line);
    }
}
