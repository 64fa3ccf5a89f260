//! The types of CSV columns: recognised in text, joined over many texts, written as JSON and as JSON Schema.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

/// What every text of a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Boolean,
    Integer,
    Number,
    Date,
    DateTime,
    String,
}

impl Kind {
    /// As written in a configuration.
    pub const NAMES: [&'static str; 6] = ["boolean", "integer", "number", "date", "date-time", "string"];

    /// The narrowest type of one text; `None` for the empty one, which is null in every type.
    pub fn of(text: &str) -> Option<Self> {
        let narrowest = [Self::Integer, Self::Number, Self::Boolean, Self::Date, Self::DateTime];
        (!text.is_empty())
            .then(|| narrowest.into_iter().find(|kind| kind.accepts(text)).unwrap_or(Self::String))
    }

    /// The narrowest type that holds both.
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::String,
        }
    }

    /// Whether a text that is not empty is of this type.
    pub fn accepts(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Self::String => true,
            Self::Boolean => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
            Self::Integer => is_integer(bytes),
            Self::Number => is_number(bytes),
            Self::Date => bytes.len() == 10 && bytes[4] == b'-' && text.parse::<Date>().is_ok(),
            Self::DateTime => {
                // `T` and an offset, as RFC 3339 and JSON Schema have it; jiff alone would take more.
                bytes.len() >= 20
                    && bytes[4] == b'-'
                    && bytes[10] == b'T'
                    && text.parse::<Timestamp>().is_ok()
            }
        }
    }

    /// As JSON Schema; always with null, because any field of a CSV file may be empty.
    pub fn schema(self) -> Value {
        match self {
            Self::Boolean => json!({"type": ["null", "boolean"]}),
            Self::Integer => json!({"type": ["null", "integer"]}),
            Self::Number => json!({"type": ["null", "number"]}),
            Self::Date => json!({"type": ["null", "string"], "format": "date"}),
            Self::DateTime => json!({"type": ["null", "string"], "format": "date-time"}),
            Self::String => json!({"type": ["null", "string"]}),
        }
    }

    /// How a property of a schema is to be written. A type that a text cannot be, such as an object, is written
    /// as a string.
    pub fn of_schema(property: &Value) -> Self {
        let named = |name: &str| match &property["type"] {
            Value::String(one) => one == name,
            Value::Array(several) => several.iter().any(|one| one == name),
            _ => false,
        };
        if named("string") {
            return match property["format"].as_str() {
                Some("date") => Self::Date,
                Some("date-time") => Self::DateTime,
                _ => Self::String,
            };
        }
        let others = [("number", Self::Number), ("integer", Self::Integer), ("boolean", Self::Boolean)];
        others.into_iter().find(|(name, _)| named(name)).map_or(Self::String, |(_, kind)| kind)
    }

    /// Writes one text as JSON; false, and nothing written, if it is not of this type.
    pub fn write(self, text: &str, out: &mut Vec<u8>) -> bool {
        if text.is_empty() {
            out.extend_from_slice(b"null");
            return true;
        }
        if !self.accepts(text) {
            return false;
        }
        match self {
            Self::Integer | Self::Number => out.extend_from_slice(text.as_bytes()),
            Self::Boolean => out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase())),
            Self::Date | Self::DateTime | Self::String => {
                serde_json::to_writer(out, text).expect("a string into memory cannot fail");
            }
        }
        true
    }
}

/// A JSON integer that fits 64 bits. Leading zeros make it text: `02134` is a postal code.
fn is_integer(bytes: &[u8]) -> bool {
    const ALWAYS_FITS: usize = 18;
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let plain = match digits {
        [b'0'] => bytes.len() == 1, // "-0" would come back as 0
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    plain
        && (digits.len() <= ALWAYS_FITS
            || str::from_utf8(bytes).is_ok_and(|text| text.parse::<i64>().is_ok()))
}

/// JSON's grammar of numbers, within the range of a double.
fn is_number(bytes: &[u8]) -> bool {
    let count = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = count(unsigned);
    if whole == 0 || (whole > 1 && unsigned[0] == b'0') {
        return false;
    }
    let mut rest = &unsigned[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = count(fraction);
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    let mut exponent = 0;
    if let Some(signed) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let unsigned = signed.strip_prefix(b"-").or_else(|| signed.strip_prefix(b"+")).unwrap_or(signed);
        exponent = count(unsigned);
        if exponent == 0 {
            return false;
        }
        rest = &unsigned[exponent..];
    }
    // Only an exponent or very many digits can leave the range.
    rest.is_empty()
        && ((exponent == 0 && whole < 300)
            || str::from_utf8(bytes).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_recognised() {
        for (text, kind) in [
            ("0", Kind::Integer),
            ("-17", Kind::Integer),
            ("9223372036854775807", Kind::Integer),
            ("9223372036854775808", Kind::Number),
            ("-0", Kind::Number),
            ("1.50", Kind::Number),
            ("1e3", Kind::Number),
            ("1e999", Kind::String),
            ("02134", Kind::String),
            ("+1", Kind::String),
            (".5", Kind::String),
            ("1.", Kind::String),
            ("NaN", Kind::String),
            ("1_000", Kind::String),
            (" 1", Kind::String),
            ("TRUE", Kind::Boolean),
            ("false", Kind::Boolean),
            ("2012-01-31", Kind::Date),
            ("2012-02-31", Kind::String),
            ("2012/01/31", Kind::String),
            ("2012-01-31T10:00:00Z", Kind::DateTime),
            ("2012-01-31T10:00:00.25+01:00", Kind::DateTime),
            ("2012-01-31 10:00:00Z", Kind::String),
            ("2012-01-31T10:00:00", Kind::String),
            ("é", Kind::String),
        ] {
            assert_eq!(Kind::of(text), Some(kind), "{text}");
        }
        assert_eq!(Kind::of(""), None);
    }

    #[test]
    fn every_accepted_number_is_json_and_every_json_number_is_accepted() {
        let pieces = ["", "-", "0", "00", "7", "12", ".", ".0", ".25", "e", "E5", "e-3", "e+", "x"];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for d in pieces {
                        let text = format!("{a}{b}{c}{d}");
                        let json = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_number());
                        assert_eq!(is_number(text.as_bytes()), json, "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn joins_are_the_narrowest_that_holds_both() {
        assert_eq!(Kind::Integer.join(Kind::Number), Kind::Number);
        assert_eq!(Kind::Date.join(Kind::DateTime), Kind::String);
        assert_eq!(Kind::Boolean.join(Kind::Integer), Kind::String);
        assert_eq!(Kind::Date.join(Kind::Date), Kind::Date);
    }

    #[test]
    fn writing_is_json_and_refuses_what_does_not_fit() {
        let write = |kind: Kind, text| {
            let mut out = Vec::new();
            kind.write(text, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(write(Kind::Integer, "12").as_deref(), Some("12"));
        assert_eq!(write(Kind::Integer, "").as_deref(), Some("null"));
        assert_eq!(write(Kind::Integer, "1.5"), None);
        assert_eq!(write(Kind::Boolean, "True").as_deref(), Some("true"));
        assert_eq!(write(Kind::String, "a\"\n\u{1}é").as_deref(), Some("\"a\\\"\\n\\u0001é\""));
    }

    #[test]
    fn names_are_the_ones_configurations_use() {
        for name in Kind::NAMES {
            let kind = serde_json::from_value::<Kind>(json!(name)).unwrap();
            assert_eq!(Kind::of_schema(&kind.schema()), kind, "a schema says its kind");
        }
        assert_eq!(Kind::of_schema(&json!({"type": ["null", "integer"]})), Kind::Integer);
        assert_eq!(Kind::of_schema(&json!({"type": ["null", "integer", "string"]})), Kind::String);
        assert_eq!(Kind::of_schema(&json!({"anyOf": []})), Kind::String);
    }
}
