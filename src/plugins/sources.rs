//! Where a build of a Python environment takes packages from: hosts to reach and files to read, as pip's own settings say.
//! Pure, but for a look at which files exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the public index needs: its pages, and its files.
const PUBLIC_INDEX: [&str; 2] = ["pypi.org:443", "files.pythonhosted.org:443"];
/// Settings of pip that are addresses.
const ADDRESSES: [&str; 4] = ["index-url", "extra-index-url", "find-links", "proxy"];
/// The setting that replaces the public index.
const INDEX: &str = "index-url";
/// Below the home directory, where pip keeps its configuration.
const CONFIGURATION: [&str; 2] = [".config/pip", ".pip"];
/// The machine's configuration of pip.
const SYSTEM_CONFIGURATION: &str = "/etc/pip.conf";
/// Variables that name a file for pip.
const FILE_VARIABLES: [&str; 3] = ["PIP_CONFIG_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"];

/// Hosts and files of a build.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sources {
    /// `host:port` each.
    pub hosts: Vec<String>,
    /// Files and directories, absolute.
    pub paths: Vec<PathBuf>,
}

impl Sources {
    /// The files that pip's configuration is in; nothing to reach.
    #[must_use]
    pub fn of_files(variables: &BTreeMap<String, String>) -> Self {
        let home = variables.get("HOME").map(Path::new);
        let own = home.into_iter().flat_map(|home| CONFIGURATION.map(|part| home.join(part)));
        let named = FILE_VARIABLES.iter().filter_map(|name| variables.get(*name).map(PathBuf::from));
        let mut sources = Self::default();
        own.chain([PathBuf::from(SYSTEM_CONFIGURATION)]).chain(named).for_each(|path| sources.read(&path));
        sources
    }

    /// With what `pip config list` printed, the index that the environment names itself, proxies, and requirements that are
    /// files.
    #[must_use]
    pub fn and<'a>(
        mut self,
        settings: &str,
        index: Option<&'a str>,
        proxies: impl Iterator<Item = &'a String>,
        requirements: &[String],
    ) -> Self {
        let mut public = index.is_none();
        for line in settings.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.rsplit('.').next().unwrap_or(key);
            let of_index = key == INDEX;
            // the environment's own index replaces the machine's
            if of_index && index.is_some() {
                continue;
            }
            public &= !of_index;
            for word in value.trim_matches(['\'', '"']).split(|c: char| c.is_whitespace() || c == ',') {
                self.read(Path::new(word));
                if ADDRESSES.contains(&key) {
                    self.reach(word);
                }
            }
        }
        index.into_iter().chain(proxies.map(String::as_str)).for_each(|address| self.reach(address));
        if public {
            PUBLIC_INDEX.into_iter().for_each(|host| self.add(host.to_owned()));
        }
        for requirement in requirements {
            // name @ file:///path, or a path alone
            let place = requirement.rsplit(" @ ").next().unwrap_or(requirement).trim();
            self.read(Path::new(place.strip_prefix("file://").unwrap_or(place)));
            self.reach(place);
        }
        self
    }

    fn read(&mut self, path: &Path) {
        if path.is_absolute() && path.exists() && !self.paths.iter().any(|known| known == path) {
            self.paths.push(path.to_owned());
        }
    }

    fn reach(&mut self, address: &str) {
        if let Some(host) = host_of(address) {
            self.add(host);
        }
    }

    fn add(&mut self, host: String) {
        if !self.hosts.contains(&host) {
            self.hosts.push(host);
        }
    }
}

/// `host:port` of an address by HTTP; what stands before an `@` is a password.
fn host_of(address: &str) -> Option<String> {
    let address = address.trim_start_matches("git+");
    let (scheme, rest) = address.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let bare_v6 = host.ends_with(']');
    match host.rsplit_once(':').filter(|_| !bare_v6) {
        Some((name, given)) if !name.is_empty() => Some(format!("{name}:{}", given.parse::<u16>().ok()?)),
        _ if host.is_empty() => None,
        _ => Some(format!("{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(settings: &str, index: Option<&str>, requirements: &[&str]) -> Vec<String> {
        let proxy = "http://user:hunter2@proxy.internal:3128".to_owned();
        let requirements: Vec<String> = requirements.iter().map(|text| (*text).to_owned()).collect();
        Sources::default().and(settings, index, [&proxy].into_iter(), &requirements).hosts
    }

    #[test]
    fn the_public_index_is_reached_unless_another_is_named() {
        let public = ["proxy.internal:3128", "pypi.org:443", "files.pythonhosted.org:443"];
        assert_eq!(hosts("global.timeout='60'\n", None, &["tap-csv==1.0"]), public);
        let machine = "global.extra-index-url='https://extra.internal/simple http://b.internal:8080'\n\
                       global.index-url='https://u:p@index.internal/simple'\n";
        let extra = ["extra.internal:443", "b.internal:8080"];
        assert_eq!(
            hosts(machine, None, &[]),
            [extra[0], extra[1], "index.internal:443", "proxy.internal:3128"]
        );
        assert_eq!(
            hosts(machine, Some("https://own.internal:8443/x"), &[]),
            [extra[0], extra[1], "own.internal:8443", "proxy.internal:3128"]
        );
    }

    #[test]
    fn requirements_and_settings_may_name_files_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("a.whl");
        std::fs::write(&wheel, "").unwrap();
        let settings = format!(":env:.find-links='{}'\n:env:.cert='/no/such/file'\n", dir.path().display());
        let requirements = [wheel.display().to_string(), "x @ https://files.internal/x.whl".to_owned()];
        let sources = Sources::default().and(&settings, Some("https://i"), [].into_iter(), &requirements);
        assert_eq!(sources.paths, [dir.path(), &wheel]);
        assert_eq!(sources.hosts, ["i:443", "files.internal:443"]);
    }

    #[test]
    fn addresses_of_other_kinds_are_none() {
        for other in ["file:///x", "/x", "ssh://git@host/x", "https://", "https://h:port/", "tap-csv"] {
            assert_eq!(host_of(other), None, "{other}");
        }
        assert_eq!(host_of("https://[::1]/simple").as_deref(), Some("[::1]:443"));
        assert_eq!(host_of("http://[::1]:8080/").as_deref(), Some("[::1]:8080"));
    }
}
