//! Access control for gateways: who sends a request, by the token that it bears, and the making and revoking of tokens. Never in
//! here: HTTP or gRPC, what a route needs, and where tokens are kept.

mod failures;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flexcore_actors::domain::access::{ApiToken, Role, TokenHash, TokenId};
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::{Clock, TokenStore};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::failures::Failures;

/// How a token's text begins, so that people and scanners of leaked secrets recognise one.
const PREFIX: &str = "flexcore_";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;
/// How long a token may be valid at most: ten years.
pub const MAX_VALIDITY: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// Tokens in one page of a list.
const PAGE: usize = 1_000;

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As events and the audit log name them.
    pub actor: String,
    /// What they may do.
    pub role: Role,
}

/// Why a request is not let in. Says nothing about what was wrong with a token.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It bears no token.
    #[error("this node asks for a token: send Authorization: Bearer TOKEN (flexcore token create makes one)")]
    Missing,
    /// It bears something else.
    #[error("Authorization is not Bearer and one token")]
    Malformed,
    /// It bears a token that is worth nothing.
    #[error("the token is unknown, expired or revoked")]
    Worthless,
    /// Its address has tried too many tokens that are worth nothing.
    #[error("too many tokens from this address were worth nothing")]
    TooMany {
        /// When to try again, seconds.
        retry_after: u64,
    },
    /// Nobody can say: it is not let in.
    #[error("tokens cannot be looked up")]
    Store(#[source] StoreError),
}

/// Why a token cannot be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It would be valid for nothing or for too long.
    #[error("expires is a duration from 1s to {} days", MAX_VALIDITY.as_secs() / 86_400)]
    Validity,
    /// The same was asked for before.
    #[error("this token was made before, and is shown once: revoke it and make another")]
    Made,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// The store is away or refuses.
    #[error("the store of tokens cannot be used")]
    Store(#[from] StoreError),
}

/// A token that was just made: the one moment in which it can be seen.
pub struct Created {
    /// What its bearer sends.
    pub text: String,
    /// What is kept of it.
    pub token: ApiToken,
}

impl std::fmt::Debug for Created {
    /// Without the token itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Created").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Tells who sends a request. Cheap to share.
pub struct Access {
    required: bool,
    tokens: Arc<dyn TokenStore>,
    clock: Arc<dyn Clock>,
    failures: Failures,
}

impl Access {
    /// Over these tokens; `required` lets nobody in without one.
    #[must_use]
    pub fn new(required: bool, tokens: Arc<dyn TokenStore>, clock: Arc<dyn Clock>) -> Self {
        Self { required, tokens, clock, failures: Failures::default() }
    }

    /// Whether a token is asked for.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.required
    }

    /// Who sends a request from `peer` with this `Authorization` header.
    ///
    /// # Errors
    /// [`Denied`]; a store that is away lets nobody in.
    pub async fn identify(&self, authorization: Option<&[u8]>, peer: IpAddr) -> Result<Identity, Denied> {
        let Some(header) = authorization else {
            let anonymous = Identity { actor: format!("anonymous@{peer}"), role: Role::Admin };
            return if self.required { Err(Denied::Missing) } else { Ok(anonymous) };
        };
        let text = bearer(header).ok_or(Denied::Malformed)?;
        let found = self.tokens.find(&hash(text)).await.map_err(Denied::Store)?;
        match found.filter(|token| token.is_valid(self.clock.now())) {
            Some(token) => Ok(Identity { actor: format!("token:{}", token.id), role: token.role }),
            None => Err(self.failures.note(peer)),
        }
    }

    /// Makes a token; under an id of the caller's at most once.
    ///
    /// # Errors
    /// [`TokenError`]
    pub async fn create(
        &self,
        id: Option<Uuid>,
        role: Role,
        valid_for: Option<Duration>,
        created_by: &str,
    ) -> Result<Created, TokenError> {
        if let Some(id) = id.filter(|id| !id.is_nil()) {
            let before = TokenId(Uuid::from_u128(id.as_u128() - 1));
            let there = self.tokens.list(Some(before), 1).await?;
            if there.first().is_some_and(|token| token.id.0 == id) {
                return Err(TokenError::Made);
            }
        }
        let now = self.clock.now();
        let expires_at = valid_for.map(|time| end(now, time)).transpose()?;
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(TokenError::Random)?;
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let token = ApiToken {
            id: TokenId(id.unwrap_or_else(Uuid::now_v7)),
            hash: hash(&text),
            role,
            created_by: created_by.to_owned(),
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        self.tokens.create(&token).await?;
        Ok(Created { text, token })
    }

    /// A page of tokens by id, and where the next one begins.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(
        &self,
        after: Option<TokenId>,
        limit: usize,
    ) -> Result<(Vec<ApiToken>, Option<TokenId>), TokenError> {
        let mut found = self.tokens.list(after, limit.saturating_add(1)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|token| token.id).filter(|_| more);
        Ok((found, next))
    }

    /// Every token, for the command line.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list_all(&self) -> Result<Vec<ApiToken>, TokenError> {
        let (mut all, mut next) = self.list(None, PAGE).await?;
        while next.is_some() {
            let (page, beyond) = self.list(next, PAGE).await?;
            all.extend(page);
            next = beyond;
        }
        Ok(all)
    }

    /// Revokes a token; whether there is one. It is worth nothing from here on, on every node.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn revoke(&self, id: TokenId) -> Result<bool, TokenError> {
        Ok(self.tokens.revoke(id, self.clock.now()).await?)
    }
}

fn end(now: Timestamp, valid_for: Duration) -> Result<Timestamp, TokenError> {
    let fits = (Duration::from_secs(1)..=MAX_VALIDITY).contains(&valid_for);
    let span = SignedDuration::try_from(valid_for).map_err(|_| TokenError::Validity)?;
    fits.then(|| now.checked_add(span).ok()).flatten().ok_or(TokenError::Validity)
}

/// `Bearer TOKEN` (RFC 6750), the scheme in any case.
fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, text) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    let text = text.trim_matches(' ');
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && plain).then_some(text)
}

fn hash(text: &str) -> TokenHash {
    Sha256::digest(text.as_bytes()).into()
}
