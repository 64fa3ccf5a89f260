//! Who may do what: the four roles of the contract, API tokens, and what a command needs. What a route needs stands in the
//! gateway's table. Never in here: how a request proves who sends it, and where tokens are kept.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What somebody may do; each role may do everything that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Start, cancel, pause and release, too.
    Operator,
    /// Define pipelines, too.
    Developer,
    /// Everything: plugins with their capabilities, and tokens.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Developer, Self::Admin];

    /// The contract's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is no role: viewer, operator, developer or admin"))
    }
}

/// Names a token without being one: for lists, the audit log and revoking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub Uuid);

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TokenId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|_| format!("{text:?} is no id of a token"))
    }
}

/// SHA-256 of a token's text, which has 256 random bits: nobody finds a text for it, so it needs no salt.
pub type TokenHash = [u8; 32];

/// An API token as it is kept: everything but itself. Shown without its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    /// Its name for people; a later one is greater.
    pub id: TokenId,
    /// What tells it when it is shown.
    #[serde(skip)]
    pub hash: TokenHash,
    /// What its bearer may do.
    pub role: Role,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// From when on it is worth nothing; never, if absent.
    pub expires_at: Option<Timestamp>,
    /// Since when it is worth nothing.
    pub revoked_at: Option<Timestamp>,
}

impl ApiToken {
    /// Whether its bearer is let in now.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_an_order_and_a_name() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert!("root".parse::<Role>().unwrap_err().contains("viewer, operator"));
        assert!("Admin".parse::<Role>().is_err());
    }

    #[test]
    fn a_token_is_valid_until_it_expires_or_is_revoked() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let token = ApiToken {
            id: TokenId(Uuid::nil()),
            hash: [0; 32],
            role: Role::Viewer,
            created_by: "me".to_owned(),
            created_at: at(0),
            expires_at: Some(at(10)),
            revoked_at: None,
        };
        assert!(token.is_valid(at(9)) && !token.is_valid(at(10)));
        assert!(ApiToken { expires_at: None, ..token.clone() }.is_valid(at(1_000_000)));
        assert!(
            !ApiToken { revoked_at: Some(at(5)), ..token }.is_valid(at(4)),
            "also where a clock is behind"
        );
    }
}
