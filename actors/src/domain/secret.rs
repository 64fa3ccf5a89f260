//! Secrets: what they are called, values that are never shown, and the places of a configuration that refer to them.
//! Never in here: encryption, and where secrets are kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::limits::{MAX_SECRET_BYTES, MAX_SECRET_NAME, MIN_SECRET_CHARS};

/// The name of a secret: that of an environment variable and of a file, such as `ORACLE_PASSWORD`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// Why a text is not a [`SecretName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a secret: use 1 to 128 letters, digits and '_', not beginning with a digit, such as ORACLE_PASSWORD"
)]
pub struct InvalidSecretName(String);

impl SecretName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, longer than [`MAX_SECRET_NAME`], or could not be the name of an environment variable.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidSecretName> {
        let text = text.into();
        let ok = (1..=MAX_SECRET_NAME).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !text.as_bytes()[0].is_ascii_digit();
        if ok {
            Ok(Self(text))
        } else {
            Err(InvalidSecretName(text.chars().take(MAX_SECRET_NAME + 1).collect()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidSecretName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl std::str::FromStr for SecretName {
    type Err = InvalidSecretName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// The value of a secret: overwritten in memory when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

/// Why bytes cannot be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitSecret {
    /// It would stand in logs by accident, and could not be hidden there.
    #[error(
        "a secret has at least {MIN_SECRET_CHARS} characters beside white space: a shorter one could not be hidden in logs"
    )]
    TooShort,
    /// It is larger than what a secret is.
    #[error(
        "a secret has at most {MAX_SECRET_BYTES} bytes: keep larger things in files that the plugin may read"
    )]
    TooLarge,
}

impl SecretValue {
    /// Takes the bytes.
    ///
    /// # Errors
    /// When they are too few to be hidden, or too many.
    pub fn new(bytes: Vec<u8>) -> Result<Self, UnfitSecret> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() > MAX_SECRET_BYTES {
            return Err(UnfitSecret::TooLarge);
        }
        let chars = match std::str::from_utf8(&bytes) {
            Ok(text) => text.trim().chars().count(),
            Err(_) => bytes.len(),
        };
        if chars < MIN_SECRET_CHARS { Err(UnfitSecret::TooShort) } else { Ok(Self(bytes)) }
    }

    /// The bytes, for the one who has to deliver or hide them.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, when it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A text of a configuration that refers to secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretPlace {
    /// Where it is, as people write it: `env.PASSWORD`, `hosts[0].dsn`.
    pub field: String,
    /// Where it is, as a JSON pointer.
    pub pointer: String,
    /// What it is made of.
    pub parts: Vec<Part>,
}

/// A part of such a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// As it is: nothing in it is replaced, whatever it looks like.
    Text(String),
    /// The value of a secret.
    Secret(SecretName),
}

/// Why a secret cannot be written into a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplaceable {
    /// There is no value for it.
    #[error("config.{field}: the secret {name} is not granted")]
    Absent {
        /// The place.
        field: String,
        /// The secret.
        name: SecretName,
    },
    /// A configuration is JSON, which holds text alone.
    #[error(
        "config.{field}: the secret {name} is not UTF-8 text: let the program read the file $FLEXCORE_SECRETS_DIR/{name}"
    )]
    NotText {
        /// The place.
        field: String,
        /// The secret.
        name: SecretName,
    },
}

impl SecretPlace {
    /// The secrets it refers to, in order.
    pub fn names(&self) -> impl Iterator<Item = &SecretName> {
        self.parts.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name),
            Part::Text(_) => None,
        })
    }

    /// The text with the values in it.
    fn text(&self, secrets: &BTreeMap<SecretName, SecretValue>) -> Result<String, Unplaceable> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Secret(name) => {
                    let field = || self.field.clone();
                    let value = secrets
                        .get(name)
                        .ok_or_else(|| Unplaceable::Absent { field: field(), name: name.clone() })?;
                    let value = value
                        .text()
                        .ok_or_else(|| Unplaceable::NotText { field: field(), name: name.clone() })?;
                    text.push_str(value);
                }
            }
        }
        Ok(text)
    }
}

/// Writes the values of secrets into the places of a configuration that refer to them. For the last moment before a
/// program is started: the result is never recorded.
///
/// # Errors
/// When there is no value for a secret, or it is no text.
pub fn place_secrets(
    config: &mut Value,
    places: &[SecretPlace],
    secrets: &BTreeMap<SecretName, SecretValue>,
) -> Result<(), Unplaceable> {
    for place in places {
        let text = place.text(secrets)?;
        if let Some(slot) = config.pointer_mut(&place.pointer) {
            *slot = Value::String(text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_variables() {
        for good in ["ORACLE_PASSWORD", "a", "_x9"] {
            assert_eq!(SecretName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "9A", "A-B", "A/B", "..", "A B", "É", &"X".repeat(129)] {
            assert!(SecretName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_have_bounds_and_are_never_shown() {
        let value = SecretValue::new(b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{value:?}"), "<secret>");
        assert_eq!((value.reveal(), value.text()), (&b"hunter2"[..], Some("hunter2")));
        for short in [&b"abc"[..], b"   a   ", b"", b"\n\n\n\n", b"\xff\xfe"] {
            assert_eq!(SecretValue::new(short.to_vec()), Err(UnfitSecret::TooShort), "{short:?}");
        }
        assert_eq!(SecretValue::new("äöüß".into()).unwrap().text(), Some("äöüß"), "characters count");
        assert!(SecretValue::new(vec![b'x'; MAX_SECRET_BYTES]).is_ok());
        assert_eq!(SecretValue::new(vec![b'x'; MAX_SECRET_BYTES + 1]), Err(UnfitSecret::TooLarge));
        assert_eq!(SecretValue::new(vec![0xff; 8]).unwrap().text(), None);
    }

    #[test]
    fn values_are_written_where_they_are_referred_to_and_nowhere_else() {
        let name = |name: &str| SecretName::new(name).unwrap();
        let place = SecretPlace {
            field: "dsn[0]".to_owned(),
            pointer: "/dsn/0".to_owned(),
            parts: vec![Part::Text("${secret.B}@".to_owned()), Part::Secret(name("A"))],
        };
        let secrets = |value: &[u8]| BTreeMap::from([(name("A"), SecretValue::new(value.to_vec()).unwrap())]);
        let mut config = json!({"dsn": ["?", "${secret.A}"]});
        place_secrets(&mut config, std::slice::from_ref(&place), &secrets(b"hunter2")).unwrap();
        assert_eq!(config, json!({"dsn": ["${secret.B}@hunter2", "${secret.A}"]}));
        let absent = place_secrets(&mut config, std::slice::from_ref(&place), &BTreeMap::new()).unwrap_err();
        assert_eq!(absent.to_string(), "config.dsn[0]: the secret A is not granted");
        let binary = place_secrets(&mut config, &[place], &secrets(&[0xff; 8])).unwrap_err();
        assert!(binary.to_string().contains("$FLEXCORE_SECRETS_DIR/A"), "{binary}");
    }
}
