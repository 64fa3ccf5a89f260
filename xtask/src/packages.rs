//! The programs that the tests need from the system: found, installed where that is possible, otherwise asked for.
//!
//! Only names of Debian packages and how to recognise each; no server is started here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::foreground;

/// The oldest PostgreSQL that FlexCore supports.
pub const POSTGRES_OLDEST: u32 = 15;
/// Where Debian keeps each version's server programs, away from the path.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// The server programs that were found.
#[derive(Debug)]
pub struct Programs {
    /// The folder with `initdb` and `postgres`.
    pub postgres: PathBuf,
    /// `redis-server`.
    pub redis: PathBuf,
}

/// A Debian package and how to see that what we need from it is there.
struct Requirement {
    package: &'static str,
    present: fn() -> bool,
}

const SERVERS: &[Requirement] = &[
    Requirement { package: "postgresql", present: || find_postgres().is_some() },
    Requirement { package: "redis-server", present: || on_path("redis-server").is_some() },
];

/// The tests build the virtual environments of Python plugins.
const PYTHON: &[Requirement] = &[
    Requirement { package: "python3", present: || on_path("python3").is_some() },
    Requirement { package: "python3-venv", present: || python_imports("venv, ensurepip") },
];

/// The servers' programs, installed first if need be.
pub fn servers() -> Result<Programs> {
    provide(SERVERS)?;
    Ok(Programs {
        postgres: find_postgres().context("PostgreSQL's server programs are missing")?,
        redis: on_path("redis-server").context("redis-server is missing")?,
    })
}

/// Makes sure of the Python that the tests of Python plugins use.
pub fn python() -> Result<()> {
    provide(PYTHON)
}

/// Installs what is missing when that is possible, and otherwise fails with the command to type.
fn provide(requirements: &[Requirement]) -> Result<()> {
    let missing = missing(requirements);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !(Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some()) {
        bail!(
            "missing: {names} (Debian's package names; PostgreSQL {POSTGRES_OLDEST} or newer); \
             install them with this system's package manager and have their programs on the path"
        );
    }
    if !Uid::effective().is_root() {
        bail!("missing: {names}; install with: sudo apt-get update && sudo apt-get install --yes {names}");
    }
    eprintln!("installing {names}");
    apt_get(&["update", "--quiet"])?;
    apt_get(&[&["install", "--yes", "--quiet", "--no-install-recommends"], missing.as_slice()].concat())?;
    let still = self::missing(requirements);
    ensure!(
        still.is_empty(),
        "{} installed, and still not usable here; the tests need PostgreSQL {POSTGRES_OLDEST} or newer",
        still.join(" ")
    );
    Ok(())
}

fn missing(requirements: &[Requirement]) -> Vec<&'static str> {
    requirements.iter().filter(|needed| !(needed.present)()).map(|needed| needed.package).collect()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let code = foreground::run(&mut command)?;
    ensure!(code == 0, "apt-get {} ended with exit code {code}", arguments.join(" "));
    Ok(())
}

/// The newest sufficient PostgreSQL: in Debian's folders, else where `initdb` on the path says that it is.
fn find_postgres() -> Option<PathBuf> {
    newest_version(Path::new(POSTGRES_VERSIONS)).or_else(|| {
        let real = on_path("initdb")?.canonicalize().ok()?;
        let output = Command::new(&real).arg("--version").output().ok()?;
        let folder = real.parent()?.to_owned();
        (major_version(&String::from_utf8_lossy(&output.stdout))? >= POSTGRES_OLDEST && complete(&folder))
            .then_some(folder)
    })
}

/// The `bin` folder of the highest version under `root` that is complete and not too old.
fn newest_version(root: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(root).ok()?;
    versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            (version >= POSTGRES_OLDEST && complete(&folder)).then_some((version, folder))
        })
        .max_by_key(|(version, _)| *version)
        .map(|(_, folder)| folder)
}

fn complete(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

/// The 15 of `initdb (PostgreSQL) 15.18 (Debian …)`.
fn major_version(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(OsStr::new(program))).find(|file| file.is_file())
}

fn python_imports(modules: &str) -> bool {
    let import = format!("import {modules}");
    let run =
        Command::new("python3").args(["-c", &import]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_newest_complete_and_sufficient_postgres_is_taken() {
        let scratch = Scratch::new().unwrap();
        for (version, programs) in [
            ("9.6", ["initdb", "postgres"]),
            ("14", ["initdb", "postgres"]),
            ("15", ["initdb", "postgres"]),
            ("17", ["initdb", "postgres"]),
            ("18", ["psql", "pg_dump"]), // the client alone
        ] {
            let folder = scratch.path().join(version).join("bin");
            std::fs::create_dir_all(&folder).unwrap();
            programs.iter().for_each(|program| std::fs::write(folder.join(program), "").unwrap());
        }
        assert_eq!(newest_version(scratch.path()), Some(scratch.path().join("17/bin")));
        assert_eq!(newest_version(&scratch.path().join("absent")), None);
    }

    #[test]
    fn the_version_is_read_from_what_initdb_says() {
        assert_eq!(major_version("initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("initdb (PostgreSQL) 18\n"), Some(18));
        assert_eq!(major_version("command not found"), None);
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let requirements = [
            Requirement { package: "here", present: || true },
            Requirement { package: "absent", present: || false },
        ];
        assert_eq!(missing(&requirements), ["absent"]);
    }
}
