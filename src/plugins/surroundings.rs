//! The environment variables of a program: few, and nothing of the daemon's own unless the manifest names it. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flexcore_actors::domain::plugin::Capabilities;

/// Where every host has its programs.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// Where programs are looked for: the plugin's environment, FlexCore's own programs, the system.
#[must_use]
pub fn directories(environment: Option<&Path>, own: &[PathBuf]) -> Vec<PathBuf> {
    let system = SYSTEM_DIRECTORIES.iter().map(PathBuf::from);
    environment.map(Path::to_owned).into_iter().chain(own.iter().cloned()).chain(system).collect()
}

/// The variables of a program. `daemon` are the daemon's own, of which only the granted names pass; a granted name
/// that the daemon does not have is left out, and one of a secret is never the daemon's. `secrets` come on top.
#[must_use]
pub fn variables(
    directories: &[PathBuf],
    scratch: &Path,
    capabilities: &Capabilities,
    daemon: &BTreeMap<String, String>,
    secrets: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let path = directories.iter().map(|d| d.to_string_lossy()).collect::<Vec<_>>().join(":");
    let home = scratch.to_string_lossy().into_owned();
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), path),
        ("HOME".to_owned(), home.clone()),
        ("TMPDIR".to_owned(), home),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    for name in capabilities.env.iter().filter(|name| !capabilities.secrets.contains(name)) {
        if let Some(value) = daemon.get(name) {
            variables.insert(name.clone(), value.clone());
        }
    }
    variables.extend(secrets);
    variables.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granted_names_pass() {
        let daemon = BTreeMap::from([
            ("TZ".to_owned(), "UTC".to_owned()),
            ("FLEXCORE_TOKEN".to_owned(), "secret".to_owned()),
            ("PASSWORD".to_owned(), "the daemon's own".to_owned()),
        ]);
        let capabilities = Capabilities {
            env: ["TZ", "ABSENT", "PASSWORD"].map(str::to_owned).to_vec(),
            secrets: vec!["PASSWORD".to_owned()],
            ..Capabilities::default()
        };
        let secrets = vec![("PASSWORD".to_owned(), "from the store".to_owned())];
        let found = directories(Some(Path::new("/env/bin")), &[PathBuf::from("/opt/flexcore")]);
        let variables = variables(&found, Path::new("/scratch"), &capabilities, &daemon, secrets);
        let expected = [
            ("HOME", "/scratch"),
            ("LANG", "C.UTF-8"),
            ("PASSWORD", "from the store"),
            ("PATH", "/env/bin:/opt/flexcore:/usr/local/bin:/usr/bin:/bin"),
            ("TMPDIR", "/scratch"),
            ("TZ", "UTC"),
        ];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
