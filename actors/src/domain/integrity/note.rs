//! Signed notes (<https://c2sp.org/signed-note>): a text, an empty line, and lines that sign the text. The format of Go's
//! checksum database and of most transparency logs, so that their tools can check what we sign. Only Ed25519 is known
//! here; signatures of other kinds are kept and not looked at. Never in here: a private key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};
use sha2::{Digest, Sha256};

/// The byte that says "Ed25519 over the note's text" in front of a key.
pub const ED25519: u8 = 1;
/// The longest note that is read, bytes.
pub const MAX_NOTE_BYTES: usize = 64 << 10;
/// Most signatures that a note may have; the format asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;
/// The longest name of a key, bytes.
const MAX_KEY_NAME: usize = 255;
/// What a signature line begins with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a text is not a note, or a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not of the format.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// A key that is trusted did not make the signature that bears its name.
    #[error("the signature of key {0} is wrong: the note was changed, or signed by another key")]
    WrongSignature(String),
    /// Nobody who is trusted has signed it.
    #[error("no trusted key has signed the note")]
    Untrusted,
    /// A text is not a verifier key.
    #[error("not a verifier key: {0}; it is written name+id+key")]
    MalformedKey(&'static str),
}

/// The name of a key or a log: not empty, without spaces, `+` and control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is no name.
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let text = text.into();
        let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.len() > MAX_KEY_NAME || text.contains(wrong) {
            return Err(NoteError::MalformedKey(
                "a name has 1 to 255 bytes, without spaces, + and control characters",
            ));
        }
        Ok(Self(text))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public half of a signing key, with its name. As text: `name+id+base64(0x01 ‖ key)`, the id in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key under a name.
    ///
    /// # Errors
    /// When the 32 bytes are no Ed25519 public key.
    pub fn new(name: KeyName, key: &[u8; 32]) -> Result<Self, NoteError> {
        let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::MalformedKey("no Ed25519 key"))?;
        Ok(Self { name, key })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Its id: a short hash of name and key that finds the key again, and proves nothing.
    #[must_use]
    pub fn id(&self) -> u32 {
        key_id(&self.name, self.key.as_bytes())
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        Ed25519Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// The id of an Ed25519 key: the first 4 bytes of `SHA-256(name ‖ newline ‖ 0x01 ‖ key)`.
#[must_use]
pub fn key_id(name: &KeyName, key: &[u8; 32]) -> u32 {
    let mut hasher = Sha256::new_with_prefix(name.as_str());
    hasher.update([b'\n', ED25519]);
    hasher.update(key);
    let digest: [u8; 32] = hasher.finalize().into();
    u32::from_be_bytes(digest[..4].try_into().expect("4 of 32 bytes"))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::MalformedKey("a part is missing"));
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::MalformedKey("the key is not base64"))?;
        let [ED25519, key @ ..] = &key[..] else {
            return Err(NoteError::MalformedKey("the key is not an Ed25519 one"));
        };
        let key = key.try_into().map_err(|_| NoteError::MalformedKey("the key has not 32 bytes"))?;
        let found = Self::new(KeyName::new(name)?, key)?;
        if id != format!("{:08x}", found.id()) {
            return Err(NoteError::MalformedKey("the id is not that of the key"));
        }
        Ok(found)
    }
}

/// One line that signs a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: KeyName,
    /// The id of the key.
    pub id: u32,
    /// What the key made of the text; 64 bytes of an Ed25519 key.
    pub signature: Vec<u8>,
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.to_be_bytes()[..], &self.signature].concat();
        write!(f, "{SIGNATURE_MARK}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        const WRONG: NoteError = NoteError::Malformed("a line after the empty one is no signature");
        let (name, signature) =
            line.strip_prefix(SIGNATURE_MARK).and_then(|rest| rest.split_once(' ')).ok_or(WRONG)?;
        let bytes = STANDARD.decode(signature).map_err(|_| WRONG)?;
        let (id, signature) =
            bytes.split_first_chunk::<4>().filter(|(_, rest)| !rest.is_empty()).ok_or(WRONG)?;
        let name = KeyName::new(name).map_err(|_| WRONG)?;
        Ok(Self { name, id: u32::from_be_bytes(*id), signature: signature.to_vec() })
    }
}

/// A text with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Puts a note together. Whether the signatures are right is not looked at.
    ///
    /// # Errors
    /// When the text does not end with a newline or holds other control characters, or there is no signature.
    pub fn new(text: impl Into<String>, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let text = text.into();
        if !text.ends_with('\n') || text.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed(
                "its text must end with a newline and hold no other control character",
            ));
        }
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("it must have 1 to 64 signatures"));
        }
        Ok(Self { text, signatures })
    }

    /// What is signed, with its last newline. Not to be believed before [`SignedNote::verify`].
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its signatures.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks the signatures of all trusted keys; those of others are not looked at. Gives the keys that signed.
    ///
    /// # Errors
    /// When a signature of a trusted key is wrong, or no trusted key has signed.
    pub fn verify<'a>(&self, trusted: &'a [VerifierKey]) -> Result<Vec<&'a VerifierKey>, NoteError> {
        let mut signed: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let known = trusted.iter().find(|key| key.id() == signature.id && key.name == signature.name);
            let Some(key) = known else { continue };
            if !key.verifies(&self.text, &signature.signature) {
                return Err(NoteError::WrongSignature(key.to_string()));
            }
            if !signed.contains(&key) {
                signed.push(key);
            }
        }
        if signed.is_empty() { Err(NoteError::Untrusted) } else { Ok(signed) }
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl FromStr for SignedNote {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("it is longer than 64 KiB"));
        }
        // the text may hold empty lines: the last one is what ends it
        let end = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line ends its text"))?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Malformed("its last line has no end"))?;
        let signatures = lines.split('\n').map(str::parse).collect::<Result<_, _>>()?;
        Self::new(text, signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of golang.org/x/mod/sumdb/note.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const BY_PETER: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const BY_ENOCH: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

    fn key(text: &str) -> VerifierKey {
        text.parse().unwrap()
    }

    fn note(signatures: &str) -> Result<SignedNote, NoteError> {
        format!("{TEXT}\n{signatures}").parse()
    }

    #[test]
    fn published_keys_are_read_and_written() {
        for text in [PETER, ENOCH] {
            assert_eq!(key(text).to_string(), text);
        }
        assert_eq!((key(PETER).name().as_str(), key(PETER).id()), ("PeterNeumann", 0xc74f_20a3));
    }

    #[test]
    fn a_changed_key_is_refused() {
        for from in 0..PETER.len() {
            assert!(PETER[from + 1..].parse::<VerifierKey>().is_err());
            assert!(PETER[..from].parse::<VerifierKey>().is_err());
            let mut bytes = PETER.as_bytes().to_vec();
            bytes[from] += 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed.parse::<VerifierKey>().is_err(), "{changed}");
        }
        for bad in [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn published_notes_verify() {
        let both = note(&format!("{BY_PETER}{BY_ENOCH}")).unwrap();
        assert_eq!((both.text(), both.signatures().len()), (TEXT, 2));
        assert_eq!(both.to_string(), format!("{TEXT}\n{BY_PETER}{BY_ENOCH}"));
        let (peter, enoch) = (key(PETER), key(ENOCH));
        assert_eq!(both.verify(&[peter.clone(), enoch.clone()]).unwrap(), [&peter, &enoch]);
        assert_eq!(both.verify(std::slice::from_ref(&enoch)).unwrap(), [&enoch], "others are not looked at");
        assert_eq!(both.verify(&[]).unwrap_err(), NoteError::Untrusted);
        assert_eq!(note(BY_PETER).unwrap().verify(&[enoch]).unwrap_err(), NoteError::Untrusted);
        let twice = note(&format!("{BY_PETER}{BY_PETER}")).unwrap();
        assert_eq!(twice.verify(std::slice::from_ref(&peter)).unwrap(), [&peter]);
    }

    #[test]
    fn a_changed_note_is_refused() {
        let peter = [key(PETER)];
        let other = format!("{}\n{BY_PETER}", TEXT.replace("answer", "problem"));
        let error = other.parse::<SignedNote>().unwrap().verify(&peter).unwrap_err();
        assert_eq!(error, NoteError::WrongSignature(PETER.to_owned()));
        // of a known key a longer signature is wrong, never ignored
        let longer = format!("{}ABCD{}", &BY_PETER[..60], &BY_PETER[60..]);
        let error = note(&format!("{BY_ENOCH}{longer}")).unwrap().verify(&peter).unwrap_err();
        assert_eq!(error, NoteError::WrongSignature(PETER.to_owned()));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for bad in [
            TEXT.to_owned(),
            format!("{TEXT}\n"),
            format!("{TEXT}\n{}", BY_PETER.trim_end()),
            format!("\u{1}{TEXT}\n{BY_PETER}"),
            format!("{TEXT}\n{}", BY_PETER.replace("PeterNeumann", "Bad Name")),
            format!("{TEXT}\n{}", BY_PETER.replace("PeterNeumann", "a+b")),
            format!("{TEXT}\n{BY_PETER}Unexpected line.\n"),
            format!("{TEXT}\n{}", BY_PETER.replace('—', "-")),
            format!("{TEXT}\n— PeterNeumann x08go/\n"),
            format!("{TEXT}\n{}", BY_PETER.repeat(MAX_SIGNATURES + 1)),
            format!("{}\n{BY_PETER}", "a\n".repeat(MAX_NOTE_BYTES / 2)),
        ] {
            let shown: String = bad.chars().take(300).collect();
            assert!(matches!(bad.parse::<SignedNote>(), Err(NoteError::Malformed(_))), "{shown}");
        }
        assert!(SignedNote::new("no newline", note(BY_PETER).unwrap().signatures).is_err());
        assert!(SignedNote::new("unsigned\n", Vec::new()).is_err());
    }
}
