//! One secret, encrypted and decrypted: XChaCha20-Poly1305 with a random nonce a time and the name as associated data, so
//! that a value cannot be passed off under another name. Never in here: keys' whereabouts, stores.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key as CipherKey, XChaCha20Poly1305, XNonce};
use flexcore_actors::domain::secret::{SecretName, SecretValue};
use flexcore_actors::ports::secret_store::SealedSecret;
use jiff::Timestamp;

use super::keys::{Key, Keys};

/// Sets what is encrypted here apart from whatever else a key might ever be used for.
const DOMAIN: &str = "flexcore secret v1\0";

/// Why a secret cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It was encrypted with a key that is not at hand.
    OtherKey,
    /// It is not what was encrypted under this name.
    Damaged,
}

pub(super) fn seal(
    key: &Key,
    name: &SecretName,
    value: &SecretValue,
    nonce: [u8; 24],
    set_at: Timestamp,
) -> SealedSecret {
    let ciphertext = cipher(key)
        .encrypt(&XNonce::from(nonce), Payload { msg: value.reveal(), aad: context(name).as_bytes() })
        .expect("a secret is far smaller than what the cipher takes");
    SealedSecret { name: name.clone(), key: key.id(), nonce, ciphertext: Bytes::from(ciphertext), set_at }
}

pub(super) fn open(keys: &Keys, secret: &SealedSecret) -> Result<SecretValue, Unreadable> {
    let key = keys.find(secret.key).ok_or(Unreadable::OtherKey)?;
    let context = context(&secret.name);
    let payload = Payload { msg: &secret.ciphertext, aad: context.as_bytes() };
    let value = cipher(key).decrypt(&XNonce::from(secret.nonce), payload).map_err(|_| Unreadable::Damaged)?;
    SecretValue::new(value).map_err(|_| Unreadable::Damaged)
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&CipherKey::from(*key.bytes()))
}

fn context(name: &SecretName) -> String {
    format!("{DOMAIN}{name}")
}
