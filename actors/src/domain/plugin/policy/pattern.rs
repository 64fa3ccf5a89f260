//! The patterns of a policy: names with `*`, and hosts with ports. Never in here: what they are matched for.

use super::super::capabilities::host_port;

/// A name in which each `*` stands for any text, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that is written so.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `text` fits. Takes time proportional to both lengths' product at most.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // the earliest place leaves the most for what follows
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// Hosts and ports: `db.internal:5432`, `*.internal:443`, `db.internal:*`, `*:443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: HostPart,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPart {
    Any,
    /// With its leading dot: what ends so.
    Below(String),
    Exactly(String),
}

impl HostPattern {
    /// Reads a pattern. A `*` is the whole port, the whole host, or the host's leading labels: anywhere else it would
    /// let in hosts of other people's (`api.*` fits `api.example.net`).
    ///
    /// # Errors
    /// What is wrong and what would be right.
    pub fn read(text: &str) -> Result<Self, String> {
        let cure = "write host:port, *.domain:port, or * for any host or any port";
        let wrong = |_| format!("{text:?} is no pattern of hosts and ports: {cure}");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port: {cure}"))?;
        // stand-ins make the rest a pair that the one reader of pairs can check
        let named_port = if port == "*" { "1" } else { port };
        let below = host.strip_prefix("*.");
        let named_host = if host == "*" { "any" } else { below.unwrap_or(host) };
        let (name, number) = host_port(&format!("{named_host}:{named_port}")).map_err(wrong)?;
        let host = match below {
            _ if host == "*" => HostPart::Any,
            Some(_) => HostPart::Below(format!(".{name}")),
            None => HostPart::Exactly(name),
        };
        Ok(Self { host, port: (port != "*").then_some(number) })
    }

    /// Whether a host (in lower case) and a port fit.
    #[must_use]
    pub fn matches(&self, host: &str, port: u16) -> bool {
        let host_fits = match &self.host {
            HostPart::Any => true,
            HostPart::Below(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            HostPart::Exactly(name) => host == name,
        };
        host_fits && self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, fits, does_not) in [
            ("tap-csv", &["tap-csv"][..], &["tap-csv2", "tap", ""][..]),
            ("tap-*", &["tap-", "tap-csv"], &["tap", "a-tap-csv"]),
            ("*", &["", "x", "*"], &[]),
            ("*_KEY", &["A_KEY", "_KEY"], &["A_KEYS", "KEY"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["acb", "ab", "abcd"]),
            ("ab*ba", &["abba", "abXba"], &["aba", "ab"]),
            ("**", &["", "x"], &[]),
            ("", &[""], &["x"]),
        ] {
            let pattern = Pattern::new(pattern);
            fits.iter().for_each(|text| assert!(pattern.matches(text), "{pattern:?} {text:?}"));
            does_not.iter().for_each(|text| assert!(!pattern.matches(text), "{pattern:?} {text:?}"));
        }
    }

    #[test]
    fn hosts_and_ports() {
        let fits = |pattern: &str, host: &str, port| HostPattern::read(pattern).unwrap().matches(host, port);
        assert!(fits("DB.internal:5432", "db.internal", 5432));
        assert!(!fits("db.internal:5432", "db.internal", 5433));
        assert!(fits("*.internal:443", "a.b.internal", 443));
        for host in ["internal", ".internal", "xinternal", "internal.example"] {
            assert!(!fits("*.internal:443", host, 443), "{host}");
        }
        assert!(fits("db:*", "db", 1) && fits("*:443", "any.where", 443) && fits("*:*", "x", 9));
        assert!(!fits("*:443", "x", 80));
        assert!(fits("[FD00::7]:5432", "fd00::7", 5432));
        for wrong in
            ["db", "db:0", "api.*:443", "d*b:443", "*internal:443", "*.*:1", "", ":", "*:", "*.:1", "db:4*"]
        {
            let message = HostPattern::read(wrong).unwrap_err();
            assert!(message.contains("write host:port"), "{message}");
        }
    }
}
