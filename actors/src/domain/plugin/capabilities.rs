//! What a plugin may touch, and what a manifest may say about it. Never in here: what the operator allows of it
//! (`policy`), and whether a path is there (the host knows).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::calls::known_call;
use crate::domain::reader::{Object, kind_of};
use crate::domain::secret::SecretName;
use crate::limits::{MAX_GRANTS, MAX_PATH};

/// What a plugin may touch; nothing unless listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Paths it may read.
    pub read: Vec<String>,
    /// Paths it may write.
    pub write: Vec<String>,
    /// `host:port` pairs it may connect to.
    pub connect: Vec<String>,
    /// Names of the secrets it is given.
    pub secrets: Vec<String>,
    /// Names of the daemon's environment variables it is given, and of those secrets that it is given as such.
    pub env: Vec<String>,
    /// Whether it may start processes.
    pub subprocess: bool,
    /// Calls of the flexcore protocol it may make.
    pub api: Vec<String>,
}

/// The private scratch directory of an execution, as manifests name it.
pub const WORKDIR: &str = "${workdir}";

/// Directories that the sandbox makes up itself: those of the host are never granted.
const OWN: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Variables of the node itself begin so; some hold passwords and tokens.
const NODE_VARIABLES: &str = "FLEXCORE_";

/// Longest host name, as DNS has it.
const MAX_HOST: usize = 253;

/// Longest name of a variable.
const MAX_VARIABLE: usize = 128;

pub(super) fn read_capabilities(object: &mut Object<'_>) -> Capabilities {
    let Some(mut grants) = object.object("capabilities") else { return Capabilities::default() };
    let capabilities = Capabilities {
        read: entries(&mut grants, "read", check_path, plain_path),
        write: entries(&mut grants, "write", check_path, plain_path),
        connect: entries(&mut grants, "connect", |pair| host_port(pair).map(drop), str::to_ascii_lowercase),
        secrets: entries(&mut grants, "secrets", check_secret, str::to_owned),
        env: entries(&mut grants, "env", check_env, str::to_owned),
        subprocess: grants.boolean("subprocess").unwrap_or_default(),
        api: entries(&mut grants, "api", known_call, str::to_owned),
    };
    grants.finish();
    capabilities
}

/// Reads a list of texts: each wrong one, and each that is there twice, is a problem of its own.
fn entries(
    grants: &mut Object<'_>,
    key: &'static str,
    check: impl Fn(&str) -> Result<(), String>,
    same: impl Fn(&str) -> String,
) -> Vec<String> {
    let list = grants.list(key);
    if list.len() > MAX_GRANTS {
        grants.problem(
            key,
            format!("{} entries are too many: at most {MAX_GRANTS}; grant a directory above", list.len()),
        );
        return Vec::new();
    }
    let (mut seen, mut found) = (BTreeSet::new(), Vec::with_capacity(list.len()));
    for (n, item) in list.iter().enumerate() {
        let wrong = match item.as_str() {
            None => Err(format!("expected a text, found {}", kind_of(item))),
            Some(text) => check(text).and_then(|()| {
                let new = seen.insert(same(text));
                new.then_some(text).ok_or_else(|| format!("{text:?} is here twice: remove one"))
            }),
        };
        match wrong {
            Ok(text) => found.push(text.to_owned()),
            Err(message) => grants.problem(&format!("{key}[{n}]"), message),
        }
    }
    found
}

/// A path as two spellings of it agree: without doubled and last slashes.
pub(super) fn plain_path(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    root.to_owned() + &path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

pub(super) fn check_path(path: &str) -> Result<(), String> {
    let shown = shortened(path);
    let inside = path.strip_prefix(WORKDIR).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if path.len() > MAX_PATH {
        return Err(format!("{shown:?} is too long: at most {MAX_PATH} bytes"));
    }
    if path.chars().any(char::is_control) {
        return Err(format!("{shown:?} holds a control character: remove it"));
    }
    if inside.unwrap_or(path).contains("${") {
        return Err(format!("{shown:?} holds an unknown ${{…}}: only {WORKDIR}, at the beginning, is known"));
    }
    if inside.is_none() && !path.starts_with('/') {
        return Err(format!("{shown:?} is not an absolute path: begin with / or {WORKDIR}/"));
    }
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Err(format!("{shown:?} holds . or ..: name the file or directory itself"));
    }
    let plain = plain_path(path);
    if plain == "/" {
        return Err("\"/\" is everything on the host: name the directories that are needed".to_owned());
    }
    match OWN.iter().find(|own| is_within(&plain, own)) {
        Some(own) => Err(format!("{shown:?} cannot be granted: a sandbox has a {own} of its own; remove it")),
        None => Ok(()),
    }
}

/// Whether a path is `directory` or lies below it. Both are plain.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || directory == "/")
}

/// Host (in lower case, brackets of IPv6 addresses removed) and port of a pair.
///
/// # Errors
/// What is wrong with it and what would be right.
pub fn host_port(pair: &str) -> Result<(String, u16), String> {
    let shown = shortened(pair);
    let cure = "name one host and one port, such as db.internal:5432";
    if pair.contains("://") {
        return Err(format!("{shown:?} is an address with a scheme: {cure}"));
    }
    if pair.contains('*') {
        return Err(format!("{shown:?} is a wildcard, and only named hosts can be reached: {cure}"));
    }
    let (host, port) = match pair.rsplit_once(':') {
        Some((host, port)) if !pair.ends_with(']') => (host, port),
        _ => return Err(format!("{shown:?} has no port and so is not host:port: {cure}")),
    };
    if !is_host(host) {
        return Err(match host.parse::<Ipv6Addr>().or_else(|_| pair.parse()) {
            Ok(_) => format!("{shown:?} is an IPv6 address without brackets: write [address]:port"),
            Err(_) => format!("{shown:?} is not host:port: {cure}"),
        });
    }
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port @ 1..) if digits => Ok((bare(host).to_ascii_lowercase(), port)),
        _ => Err(format!("{shown:?} has no port from 1 to 65535 after its colon: {cure}")),
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return bare(host).parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified());
    }
    if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return host.parse::<Ipv4Addr>().is_ok_and(|address| !address.is_unspecified());
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= MAX_HOST && host.split('.').all(label)
}

fn check_secret(name: &str) -> Result<(), String> {
    SecretName::new(name).map(drop).map_err(|invalid| invalid.to_string())
}

fn check_env(name: &str) -> Result<(), String> {
    let shown = shortened(name);
    if !is_variable(name) {
        return Err(format!("{shown:?} is not the name of an environment variable, such as TZ"));
    }
    if name.starts_with(NODE_VARIABLES) {
        return Err(format!(
            "{shown:?} is the node's own configuration, which no program is given: remove it"
        ));
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    word && (1..=MAX_VARIABLE).contains(&name.len()) && !name.as_bytes()[0].is_ascii_digit()
}

/// Enough of a text to find it in its file.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 100;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
