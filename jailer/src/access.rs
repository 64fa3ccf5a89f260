//! Landlock: which paths a program may read, execute and change, as rules of the kernel's own. With namespaces it is the
//! second layer, under the mounts; without them it is the one that keeps the program from the host's files.

use crate::base;
use crate::protocol::Policy;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// What every kernel must bring: file access by path (linux 5.13).
const LEAST: ABI = ABI::V1;
/// What is used where the kernel has it: moving between directories, truncating, device requests, and no signals or
/// abstract sockets to processes outside (linux 6.12).
const MOST: ABI = ABI::V6;

/// What may be done below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// Read and execute.
    Read,
    /// Everything.
    Write,
}

/// Paths and what may be done below them.
#[derive(Debug)]
pub(crate) struct Rules(Vec<(PathBuf, May)>);

impl Rules {
    /// Those that fit the policy; paths are the program's own, after it entered its root.
    pub(crate) fn of(policy: &Policy) -> Self {
        let read = |path: &Path| (path.to_owned(), May::Read);
        let write = |path: &Path| (path.to_owned(), May::Write);
        let mut rules: Vec<_> = base::DIRECTORIES.iter().map(|path| read(Path::new(path))).collect();
        rules.extend(base::DEVICES.iter().map(|path| write(Path::new(path))));
        rules.push(write(&policy.workdir));
        if policy.isolation.namespaces {
            rules.push(write(Path::new("/proc")));
            rules.extend(["/", "/etc", "/run", "/var"].map(|path| read(Path::new(path))));
            rules.extend(["/tmp", "/dev/shm"].map(|path| write(Path::new(path))));
        } else {
            // The host's own: the superuser may write its settings without any capability.
            rules.push(read(Path::new("/proc")));
            rules.extend(base::ETC.iter().chain(&base::ETC_OF_HOST).map(|path| read(Path::new(path))));
        }
        rules.extend(policy.view.iter().map(|shown| {
            let path = if policy.isolation.namespaces { &shown.target } else { &shown.source };
            if shown.write { write(path) } else { read(path) }
        }));
        let placed = policy.files.iter().filter(|file| !file.path.starts_with(&policy.workdir));
        rules.extend(placed.map(|file| read(&file.path)));
        Self(rules)
    }

    /// Binds the calling process and all its descendants for ever.
    pub(crate) fn enforce(&self) -> nix::Result<()> {
        self.try_enforce().map_err(|error| error.errno())
    }

    fn try_enforce(&self) -> Result<(), AccessError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LEAST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(MOST))?
            .scope(Scope::from_all(MOST))?
            .create()?;
        for (path, may) in &self.0 {
            // What is not there needs no rule.
            let Ok(place) = PathFd::new(path) else { continue };
            let of_kind = if path.is_dir() { AccessFs::from_all(MOST) } else { AccessFs::from_file(MOST) };
            let allowed: BitFlags<AccessFs> = match may {
                May::Read => AccessFs::from_read(MOST),
                May::Write => AccessFs::from_all(MOST),
            };
            ruleset = ruleset.add_rule(PathBeneath::new(place, allowed & of_kind))?;
        }
        ruleset.restrict_self()?;
        Ok(())
    }
}

/// Any error of the library, of which only the system's number is told: the step is known.
struct AccessError(landlock::RulesetError);

impl From<landlock::RulesetError> for AccessError {
    fn from(error: landlock::RulesetError) -> Self {
        Self(error)
    }
}

impl AccessError {
    fn errno(&self) -> Errno {
        let mut error: Option<&dyn std::error::Error> = Some(&self.0);
        while let Some(current) = error {
            if let Some(io) = current.downcast_ref::<std::io::Error>() {
                return Errno::from_raw(io.raw_os_error().unwrap_or(libc::ENOSYS));
            }
            error = current.source();
        }
        // The library found that the kernel has none of it.
        Errno::ENOSYS
    }
}
