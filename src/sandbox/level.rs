//! How much isolation this host gives, found by trying, against how much the operator requires. Never in here: what a
//! single program may do.

use std::fmt;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use flexcore_jailer::protocol::{Isolation, Shown};
use tokio::time::Instant;

use super::cgroups::Groups;
use super::launcher::{Jail, Launcher, Program, ProgramLimits};

/// Memory of the program that a probe starts, bytes.
const PROBE_MEMORY: u64 = 256 << 20;

/// One independent layer of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// Namespaces of users, mounts, processes, network and names, with a root file system of the program's own.
    UserNamespaces,
    /// The kernel's access rules by path.
    Landlock,
    /// The system call filter.
    Seccomp,
    /// Control groups: the kernel's own limits of memory, processes and processor time for a whole tree.
    Cgroups,
}

impl Mechanism {
    /// All, outermost first.
    pub const ALL: [Self; 4] = [Self::UserNamespaces, Self::Landlock, Self::Seccomp, Self::Cgroups];

    /// The name in configuration, events and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespaces => "user-namespaces",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Cgroups => "cgroups",
        }
    }

    /// Isolation by this mechanism alone.
    const fn alone(self) -> Isolation {
        Isolation {
            namespaces: matches!(self, Self::UserNamespaces),
            landlock: matches!(self, Self::Landlock),
            seccomp: matches!(self, Self::Seccomp),
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|known| known.as_str() == text);
        known.copied().ok_or_else(|| format!("{text:?} is none of {}", list(&Self::ALL)))
    }
}

/// How much isolation there is, or must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the host has.
    None,
    /// All but namespaces and cgroups.
    NoUserns,
    /// All but cgroups: the memory of a program's processes is measured from time to time instead.
    NoCgroup,
    /// Everything.
    Strict,
}

impl Level {
    /// All, weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::NoUserns, Self::NoCgroup, Self::Strict];

    /// The name in configuration, events and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoUserns => "no-userns",
            Self::NoCgroup => "no-cgroup",
            Self::Strict => "strict",
        }
    }

    /// The level of a host that lacks these.
    #[must_use]
    pub fn without(missing: &[Mechanism]) -> Self {
        let lacks = |mechanism| missing.contains(&mechanism);
        match () {
            () if lacks(Mechanism::Landlock) || lacks(Mechanism::Seccomp) => Self::None,
            () if lacks(Mechanism::UserNamespaces) => Self::NoUserns,
            () if lacks(Mechanism::Cgroups) => Self::NoCgroup,
            () => Self::Strict,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|known| known.as_str() == text);
        known.copied().ok_or_else(|| format!("{text:?} is none of {}", list(&Self::ALL)))
    }
}

/// What the operator requires of every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// `sandbox.required`.
    pub level: Level,
    /// `sandbox.accept_missing`: the mechanisms that the operator goes without, each by its name. Control groups need not be
    /// named: what they bound is bound in another way.
    pub accept_missing: Vec<Mechanism>,
}

impl Default for Requirement {
    fn default() -> Self {
        Self { level: Level::NoCgroup, accept_missing: Vec::new() }
    }
}

/// What trying one mechanism showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// How long a program took to start with it, or why it did not, with the cure.
    pub result: Result<Duration, String>,
}

/// What trying all showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// The mechanisms that do not hold here.
    #[must_use]
    pub fn missing(&self) -> Vec<Mechanism> {
        self.0.iter().filter(|finding| finding.result.is_err()).map(|finding| finding.mechanism).collect()
    }

    /// What programs are to be started with. The error says for each mechanism that is missing and not accepted what failed
    /// and the cure.
    ///
    /// # Errors
    /// When the requirement is not met.
    pub fn meet(&self, requirement: &Requirement) -> Result<Isolation, String> {
        let missing = self.missing();
        let level = Level::without(&missing);
        let mut unmet = Vec::new();
        for finding in &self.0 {
            let Err(why) = &finding.result else { continue };
            let mechanism = finding.mechanism;
            if level < requirement.level {
                unmet.push(format!("{mechanism} is missing, which level {} has: {why}", requirement.level));
            } else if mechanism != Mechanism::Cgroups && !requirement.accept_missing.contains(&mechanism) {
                unmet.push(format!("{mechanism} is missing and not named in sandbox.accept_missing: {why}"));
            }
        }
        if !unmet.is_empty() {
            return Err(unmet.join("; "));
        }
        let holds = |mechanism| !missing.contains(&mechanism);
        Ok(Isolation {
            namespaces: holds(Mechanism::UserNamespaces),
            landlock: holds(Mechanism::Landlock),
            seccomp: holds(Mechanism::Seccomp),
        })
    }
}

impl Launcher {
    /// Tries every mechanism by starting a program that ends at once: FlexCore's own, so that nothing else is needed. Answers
    /// with the control groups for the node of this name if they work.
    pub async fn probe(&self, node: &str) -> (Findings, Option<Arc<Groups>>) {
        let mut findings = Vec::with_capacity(Mechanism::ALL.len());
        for mechanism in [Mechanism::UserNamespaces, Mechanism::Landlock, Mechanism::Seccomp] {
            let began = Instant::now();
            let tried = self.clone().with_isolation(mechanism.alone()).try_out().await;
            findings.push(Finding { mechanism, result: tried.map(|()| began.elapsed()) });
        }
        let (began, node) = (Instant::now(), node.to_owned());
        let prepared = tokio::task::spawn_blocking(move || Groups::prepare(&node)).await;
        let groups = prepared
            .map_err(|error| error.to_string())
            .and_then(|groups| groups.map_err(|error| error.to_string()));
        let (groups, result) = match groups {
            Ok(groups) => (Some(Arc::new(groups)), Ok(began.elapsed())),
            Err(why) => (None, Err(why)),
        };
        findings.push(Finding { mechanism: Mechanism::Cgroups, result });
        (Findings(findings), groups)
    }

    async fn try_out(&self) -> Result<(), String> {
        let io = |error: std::io::Error| format!("the probe cannot be made: {error}");
        let nowhere = || OpenOptions::new().write(true).open("/dev/null").map(OwnedFd::from).map_err(io);
        let path = self.jailer();
        let source = path.canonicalize().map_err(io)?;
        let shown = |target| Shown { source: source.clone(), target, write: false };
        let view = vec![shown(path.to_owned()), shown(source.clone())];
        let workdir = tempfile::tempdir().map_err(io)?;
        let program = Program {
            argv: vec![path.to_string_lossy().into_owned(), flexcore_jailer::PROBE.to_owned()],
            env: Vec::new(),
            workdir: workdir.path().to_owned(),
            stdin: None,
            stdout: nowhere()?,
            stderr: nowhere()?,
            limits: ProgramLimits {
                memory_bytes: PROBE_MEMORY,
                cpu_time: None,
                open_files: 64,
                file_size: None,
                processes: 8,
                scratch_bytes: 1 << 20,
                millicpus: 1_000,
            },
            jail: Some(Jail { view, ..Jail::default() }),
        };
        let mut running = self.start(program).await.map_err(|error| error.to_string())?;
        match running.wait().await.status {
            super::Status::Exit(0) => Ok(()),
            other => Err(format!("a program could be started with it, but not run: it ended with {other:?}")),
        }
    }
}

fn list<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(missing: &[Mechanism]) -> Findings {
        let result = |mechanism: &Mechanism| match missing.contains(mechanism) {
            true => Err("forbidden here: permit it".to_owned()),
            false => Ok(Duration::ZERO),
        };
        let found = |mechanism: &Mechanism| Finding { mechanism: *mechanism, result: result(mechanism) };
        Findings(Mechanism::ALL.iter().map(found).collect())
    }

    fn requirement(level: Level, accept_missing: &[Mechanism]) -> Requirement {
        Requirement { level, accept_missing: accept_missing.to_vec() }
    }

    #[test]
    fn a_host_with_everything_gives_everything_whatever_is_required() {
        let all = Isolation { namespaces: true, landlock: true, seccomp: true };
        for level in Level::ALL {
            let accepted = requirement(level, &Mechanism::ALL);
            assert_eq!(
                lacking(&[]).meet(&accepted),
                Ok(all),
                "what is accepted as missing is used where it is there"
            );
        }
    }

    #[test]
    fn what_is_missing_is_refused_until_the_level_and_the_name_accept_it() {
        use Mechanism::{Landlock, UserNamespaces};
        let host = lacking(&[UserNamespaces]);
        let refused = host.meet(&Requirement::default()).unwrap_err();
        assert!(
            refused
                .contains("user-namespaces is missing, which level no-cgroup has: forbidden here: permit it")
        );
        let refused = host.meet(&requirement(Level::NoCgroup, &[UserNamespaces])).unwrap_err();
        assert!(
            refused.contains("which level no-cgroup has"),
            "a name alone does not lower the level: {refused}"
        );
        let refused = host.meet(&requirement(Level::None, &[Landlock])).unwrap_err();
        assert!(
            refused.contains("user-namespaces is missing and not named in sandbox.accept_missing"),
            "{refused}"
        );
        let met = host.meet(&requirement(Level::NoUserns, &[UserNamespaces])).unwrap();
        assert_eq!(met, Isolation { namespaces: false, landlock: true, seccomp: true });
        let host = lacking(&[UserNamespaces, Landlock]);
        let refused = host.meet(&requirement(Level::NoUserns, &[UserNamespaces, Landlock])).unwrap_err();
        assert!(refused.contains("landlock is missing, which level no-userns has"), "{refused}");
        assert!(host.meet(&requirement(Level::None, &[UserNamespaces, Landlock])).is_ok());
        let host = lacking(&[Mechanism::Cgroups]);
        assert!(host.meet(&Requirement::default()).is_ok(), "control groups need no name");
        assert!(host.meet(&requirement(Level::Strict, &[Mechanism::Cgroups])).is_err());
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.as_str().parse(), Ok(mechanism));
        }
        assert_eq!(
            "high".parse::<Level>(),
            Err("\"high\" is none of none, no-userns, no-cgroup, strict".to_owned())
        );
    }
}
