//! `--param NAME=VALUE`: what was typed becomes typed values. Never in here: whether a pipeline knows the name; the
//! node says that.

use serde_json::Value;

/// `NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name.
    pub name: String,
    /// The value as typed.
    pub value: String,
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// When there is no `=`, or no name before it.
pub fn parameter(text: &str) -> Result<Parameter, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Parameter { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// The parameters as one object. `kind_of` says which type a name was declared with; where none is known, a value
/// that is JSON is sent as such and anything else as a text.
///
/// # Errors
/// A name that is given twice, or a value that is not of its declared type.
pub fn parameters_object(
    parameters: &[Parameter],
    kind_of: impl Fn(&str) -> Option<String>,
) -> Result<Value, String> {
    let mut object = serde_json::Map::new();
    for Parameter { name, value } in parameters {
        let parsed = || serde_json::from_str::<Value>(value).ok();
        let kind = kind_of(name);
        let typed = match kind.as_deref() {
            Some("string") => Some(Value::from(value.as_str())),
            Some("integer") => parsed().filter(|v| v.is_i64() || v.is_u64()),
            Some("number") => parsed().filter(Value::is_number),
            Some("boolean") => parsed().filter(Value::is_boolean),
            Some(_) | None => Some(parsed().unwrap_or_else(|| Value::from(value.as_str()))),
        };
        let Some(typed) = typed else {
            return Err(format!("--param {name}: {value:?} is not of the type {}", kind.unwrap_or_default()));
        };
        if object.insert(name.clone(), typed).is_some() {
            return Err(format!("--param {name} is given twice"));
        }
    }
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(texts: &[&str]) -> Vec<Parameter> {
        texts.iter().map(|text| parameter(text).unwrap()).collect()
    }

    #[test]
    fn parameters_have_a_name_and_a_value() {
        assert_eq!(given(&["a=b=c"]), [Parameter { name: "a".into(), value: "b=c".into() }]);
        assert_eq!(given(&["a="])[0].value, "");
        assert!(parameter("a").is_err() && parameter("=b").is_err());
    }

    #[test]
    fn parameters_take_their_declared_type() {
        let kinds = |name: &str| match name {
            "s" => Some("string".to_owned()),
            "i" => Some("integer".to_owned()),
            "b" => Some("boolean".to_owned()),
            _ => None,
        };
        let object =
            parameters_object(&given(&["s=5", "i=5", "b=true", "x=[1]", "y=2026-01-31"]), kinds).unwrap();
        assert_eq!(object, json!({"s": "5", "i": 5, "b": true, "x": [1], "y": "2026-01-31"}));
        assert!(parameters_object(&given(&["i=1.5"]), kinds).unwrap_err().contains("integer"));
        assert!(parameters_object(&given(&["s=1", "s=2"]), kinds).unwrap_err().contains("twice"));
    }
}
