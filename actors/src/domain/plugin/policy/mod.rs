//! What the operator lets plugins have: grants are the manifest's capabilities as far as a policy allows them. Pure.
//! Never in here: where a policy is kept, and what becomes of a plugin that asks for more.
//!
//! Whatever no rule allows is denied, and a rule that denies wins over all that allow. Each matching rule's bound on a
//! limit holds. So more of `allow` never grants less, more of `deny` or a tighter bound never more, and nothing is
//! granted that the manifest does not ask for.

mod pattern;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::capabilities::{Capabilities, WORKDIR, host_port, is_within, plain_path};
use super::manifest::{Limits, Manifest};
use crate::domain::problem::Problems;
use crate::domain::quantity::Bytes;

pub use pattern::{HostPattern, Pattern};
pub use read::read_policy;

/// The operator's rules. The default is no policy at all: whoever may register a plugin decides what it is granted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    rules: Option<Vec<Rule>>,
    id: Option<String>,
}

/// One rule, for the plugins that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What refusals call it.
    pub name: String,
    /// The plugins it is for.
    pub plugins: Vec<Pattern>,
    /// What they may have.
    pub allow: Allowance,
    /// What they may not have, whatever else allows it.
    pub deny: Allowance,
    /// The most that their limits may be.
    pub limits: Bounds,
}

/// What a rule allows or denies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allowance {
    /// Paths, with all that lies below them.
    pub read: Vec<String>,
    /// The same; who may write may read there, too.
    pub write: Vec<String>,
    /// Hosts and ports.
    pub connect: Vec<HostPattern>,
    /// Names of secrets.
    pub secrets: Vec<Pattern>,
    /// Names of variables.
    pub env: Vec<Pattern>,
    /// Calls of the flexcore protocol.
    pub api: Vec<Pattern>,
    /// Starting processes.
    pub subprocess: bool,
}

/// The most that limits may be; `None` is no bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bounds {
    /// Resident memory.
    pub memory: Option<Bytes>,
    /// Processors.
    pub cpus: Option<f64>,
    /// Processes.
    pub processes: Option<u32>,
    /// Open files.
    pub open_files: Option<u32>,
    /// Scratch space.
    pub scratch: Option<Bytes>,
}

/// What a plugin is granted, and by which policy: recorded with its registration and each of its executions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// What it may touch.
    pub capabilities: Capabilities,
    /// The digest of the policy that allowed it; absent where there was none.
    pub policy: Option<String>,
    /// Where granted paths led by symbolic links when it was registered; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads: Option<Leads>,
}

/// Granted paths that lead elsewhere by symbolic links, and where to.
pub type Leads = BTreeMap<String, String>;

/// What a policy says of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What both the manifest asks for and the policy allows.
    pub granted: Granted,
    /// What the manifest asks for beyond that, by field, with the rule that forbids it.
    pub denied: Problems,
}

impl Policy {
    /// A policy of these rules; `id` is the digest of its text.
    #[must_use]
    pub const fn new(rules: Vec<Rule>, id: String) -> Self {
        Self { rules: Some(rules), id: Some(id) }
    }

    /// The digest of its text; `None` when there is no policy.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its rules; `None` when there is no policy.
    #[must_use]
    pub fn rules(&self) -> Option<&[Rule]> {
        self.rules.as_deref()
    }

    /// The manifest's capabilities ∩ this policy, and what is left over.
    #[must_use]
    pub fn judge(&self, manifest: &Manifest) -> Judgement {
        let asked = &manifest.capabilities;
        let Some(rules) = &self.rules else {
            let granted = Granted { capabilities: asked.clone(), policy: None, leads: None };
            return Judgement { granted, denied: Problems::default() };
        };
        let name = manifest.name.as_str();
        let rules = rules.iter().filter(|rule| rule.plugins.iter().any(|plugin| plugin.matches(name)));
        let mut court = Court { rules: rules.collect(), denied: Problems::default() };
        let capabilities = Capabilities {
            read: court.list("read", &asked.read, may_read, hides),
            write: court.list("write", &asked.write, may_write, |deny, path| {
                overlaps(&deny.write, path) || hides(deny, path)
            }),
            connect: court.list("connect", &asked.connect, may_connect, may_connect),
            secrets: court.list("secrets", &asked.secrets, may(|a| &a.secrets), may(|a| &a.secrets)),
            env: court.list("env", &asked.env, may(|a| &a.env), may(|a| &a.env)),
            subprocess: asked.subprocess && court.subprocess(),
            api: court.list("api", &asked.api, may(|a| &a.api), may(|a| &a.api)),
        };
        court.limits(&manifest.limits);
        let granted = Granted { capabilities, policy: self.id.clone(), leads: None };
        Judgement { granted, denied: court.denied }
    }
}

/// The rules that concern one plugin, and what they took from it.
struct Court<'p> {
    rules: Vec<&'p Rule>,
    denied: Problems,
}

impl Court<'_> {
    /// The entries that are allowed.
    fn list(
        &mut self,
        key: &str,
        asked: &[String],
        allows: impl Fn(&Allowance, &str) -> bool,
        denies: impl Fn(&Allowance, &str) -> bool,
    ) -> Vec<String> {
        let mut granted = Vec::with_capacity(asked.len());
        for (n, entry) in asked.iter().enumerate() {
            let field = format!("capabilities.{key}[{n}]");
            if is_own(entry)
                || self.allowed(field, &format!("{entry:?}"), |a| allows(a, entry), |d| denies(d, entry))
            {
                granted.push(entry.clone());
            }
        }
        granted
    }

    fn subprocess(&mut self) -> bool {
        let field = "capabilities.subprocess".to_owned();
        self.allowed(field, "starting processes", |allow| allow.subprocess, |deny| deny.subprocess)
    }

    fn allowed(
        &mut self,
        field: String,
        what: &str,
        allows: impl Fn(&Allowance) -> bool,
        denies: impl Fn(&Allowance) -> bool,
    ) -> bool {
        if let Some(rule) = self.rules.iter().find(|rule| denies(&rule.deny)) {
            let message = format!(
                "{what} is denied by rule {:?} of the operator's policy: remove it, or have the operator change the rule",
                rule.name
            );
            self.denied.add(field, message);
            return false;
        }
        let allowed = self.rules.iter().any(|rule| allows(&rule.allow));
        if !allowed {
            let message = format!(
                "{what} is allowed by {} of the operator's policy: remove it, or have the operator allow it",
                self.none()
            );
            self.denied.add(field, message);
        }
        allowed
    }

    /// `no rule`, with the names of those that were asked.
    fn none(&self) -> String {
        const NAMED: usize = 5;
        let names: Vec<String> = self.rules.iter().map(|rule| format!("{:?}", rule.name)).collect();
        match names.len() {
            0 => "no rule (none is for this plugin)".to_owned(),
            1 => format!("no rule (for this plugin there is {})", names[0]),
            n if n <= NAMED => format!("no rule (for this plugin there are {})", names.join(", ")),
            n => format!(
                "no rule (for this plugin there are {} and {} more)",
                names[..NAMED].join(", "),
                n - NAMED
            ),
        }
    }

    fn limits(&mut self, limits: &Limits) {
        let count = |n: u32| f64::from(n);
        for rule in self.rules.clone() {
            let Bounds { memory, cpus, processes, open_files, scratch } = &rule.limits;
            for (key, asked, most) in
                [("memory", limits.memory, memory), ("scratch", limits.scratch, scratch)]
            {
                if let Some(most) = most.filter(|most| asked > *most) {
                    self.exceeds(rule, key, &asked.to_string(), &most.to_string());
                }
            }
            for (key, asked, most) in [
                ("cpus", limits.cpus, *cpus),
                ("processes", count(limits.processes), processes.map(count)),
                ("open_files", count(limits.open_files), open_files.map(count)),
            ] {
                if let Some(most) = most.filter(|most| asked > *most) {
                    self.exceeds(rule, key, &asked.to_string(), &most.to_string());
                }
            }
        }
    }

    fn exceeds(&mut self, rule: &Rule, key: &str, asked: &str, most: &str) {
        let message = format!(
            "{asked} is more than rule {:?} of the operator's policy allows: at most {most}",
            rule.name
        );
        self.denied.add(format!("limits.{key}"), message);
    }
}

/// The scratch directory is a plugin's own: it needs nobody's leave. Nothing but a path begins so.
fn is_own(path: &str) -> bool {
    path.starts_with(WORKDIR)
}

fn may_write(allow: &Allowance, path: &str) -> bool {
    lies_in(&allow.write, path)
}

fn may_read(allow: &Allowance, path: &str) -> bool {
    lies_in(&allow.read, path) || lies_in(&allow.write, path)
}

/// Whether a grant of `path` would show something that may not be read.
fn hides(deny: &Allowance, path: &str) -> bool {
    overlaps(&deny.read, path)
}

fn lies_in(directories: &[String], path: &str) -> bool {
    let path = plain_path(path);
    directories.iter().any(|directory| is_within(&path, &plain_path(directory)))
}

/// A directory above a denied one would grant that, too.
fn overlaps(denied: &[String], path: &str) -> bool {
    let path = plain_path(path);
    denied
        .iter()
        .map(|denied| plain_path(denied))
        .any(|denied| is_within(&path, &denied) || is_within(&denied, &path))
}

fn may_connect(allow: &Allowance, pair: &str) -> bool {
    // a pair that is none was refused when the manifest was read
    host_port(pair).is_ok_and(|(host, port)| allow.connect.iter().any(|pattern| pattern.matches(&host, port)))
}

fn may(patterns: impl Fn(&Allowance) -> &Vec<Pattern>) -> impl Fn(&Allowance, &str) -> bool {
    move |allowance, name| patterns(allowance).iter().any(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests;
