//! The operator's policy as a file: read, and every mistake told with its line. Never in here: what a policy means
//! (`domain/plugin/policy`).

use std::io::Read;
use std::path::Path;

use flexcore_actors::domain::plugin::{Policy, read_policy};
use sha2::{Digest, Sha256};

use super::{ConfigError, Mistake};
use crate::yaml;

/// The largest file of a policy, bytes.
pub const MAX_POLICY_BYTES: u64 = 1 << 20;

/// Reads the policy in `path`. Executions record the SHA-256 of its text.
///
/// # Errors
/// Every mistake at once, each with its place.
pub fn read(path: &Path) -> Result<Policy, ConfigError> {
    let shown = path.display();
    let at = |origin: String, key: String, message: String| Mistake { origin, key, message };
    let whole = |message: String| ConfigError(vec![at(shown.to_string(), String::new(), message)]);
    let text = text_of(path).map_err(|error| whole(format!("cannot read the policy: {error}")))?;
    let mut documents = yaml::parse(&text).map_err(|error| {
        let origin = format!("{shown}:{}:{}", error.mark.line, error.mark.column);
        ConfigError(vec![at(origin, String::new(), error.message)])
    })?;
    let document = match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => document,
        (Some(_), false) => return Err(whole("a policy is one document: remove the others".to_owned())),
        (None, _) => return Err(whole("it is empty: a policy that allows nothing is rules: []".to_owned())),
    };
    let digest = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    read_policy(&document.value, format!("sha256:{digest}")).map_err(|problems| {
        let mistakes = problems.0.into_iter().map(|problem| {
            let mark = document.position(&problem.field);
            at(format!("{shown}:{}:{}", mark.line, mark.column), problem.field, problem.message)
        });
        ConfigError(mistakes.collect())
    })
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_POLICY_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_POLICY_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MAX_POLICY_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> Result<Policy, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        std::fs::write(&path, text).unwrap();
        let prefix = format!("{}/", dir.path().display());
        read(&path).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn the_shipped_example_is_a_policy() {
        let policy = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy.yaml"))).unwrap();
        assert!(policy.rules().unwrap().len() > 1);
    }

    #[test]
    fn it_is_known_by_the_digest_of_its_text() {
        let policy = read_text("rules: []\n").unwrap();
        let expected = Sha256::digest(b"rules: []\n").iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(policy.id(), Some(format!("sha256:{expected}").as_str()));
        assert_ne!(policy.id(), read_text("rules: [] # the same\n").unwrap().id());
        let json = json!({"rules": [{"name": "a", "allow": {"read": ["/data"]}}]}).to_string();
        assert_eq!(read_text(&json).unwrap().rules().unwrap()[0].name, "a");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = "rules:\n  - name: a\n    allow:\n      read: [data]\n      conect: [\"db:1\"]\n";
        let expected = "policy.yaml:4:14: rules[0].allow.read[0]: \"data\" is not an absolute path: begin with / or ${workdir}/\n\
                        policy.yaml:5:7: rules[0].allow.conect: unknown key \"conect\"; did you mean \"connect\"?";
        assert_eq!(read_text(wrong).unwrap_err(), expected);
        assert_eq!(
            read_text("").unwrap_err(),
            "policy.yaml: it is empty: a policy that allows nothing is rules: []"
        );
        assert!(read_text("rules: []\n---\nrules: []\n").unwrap_err().contains("one document"));
        assert!(read_text("rules: [").unwrap_err().starts_with("policy.yaml:"));
        let large = format!("rules: [] #{}", "x".repeat(1 << 20));
        assert!(read_text(&large).unwrap_err().contains("larger than 1048576 bytes"));
        let absent = read(Path::new("/nowhere/policy.yaml")).unwrap_err().to_string();
        assert!(absent.starts_with("/nowhere/policy.yaml: cannot read the policy: "), "{absent}");
    }
}
