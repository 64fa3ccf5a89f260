//! What a node takes from its host when it is not told: a name, and how much memory there is.

use flexcore_actors::domain::ids::Name;
use flexcore_actors::limits::MAX_NAME_LEN;

/// The host's name, made to fit a [`Name`]; `node` when nothing of it does.
pub(super) fn node_name() -> Name {
    let host = nix::unistd::gethostname().unwrap_or_default();
    fitted(&host.to_string_lossy())
}

/// The machine's memory, bytes; `None` where it does not say.
pub(super) fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn fitted(host: &str) -> Name {
    let slug: String = host
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(MAX_NAME_LEN)
        .collect();
    Name::new(slug).unwrap_or_else(|_| Name::new("node").expect("a constant that fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory() {
        assert!(memory().is_some_and(|bytes| bytes > 64 << 20));
    }

    #[test]
    fn hosts_become_names() {
        for (host, name) in
            [("DB-1.Example.org", "db-1.example.org"), ("_x y", "x-y"), ("", "node"), ("é", "node")]
        {
            assert_eq!(fitted(host).as_str(), name, "{host}");
        }
        assert_eq!(fitted(&"a".repeat(80)).as_str().len(), MAX_NAME_LEN);
    }
}
