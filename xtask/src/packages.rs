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

/// A test gives nodes wrong clocks.
const CLOCKS: &[Requirement] = &[Requirement { package: "faketime", present: || faketime().exists() }];

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

/// Makes sure of the library that gives a process a wrong clock.
pub fn clocks() -> Result<()> {
    provide(CLOCKS)
}

/// Where Debian installs it.
fn faketime() -> PathBuf {
    Path::new("/usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH))
        .join("faketime/libfaketimeMT.so.1")
}

/// What to do about missing packages.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nothing is missing.
    Nothing,
    /// Install them with apt.
    Install,
    /// Ask for them, in these words.
    Ask(String),
}

/// Installs what is missing when that is possible, and otherwise fails with the command to type.
fn provide(requirements: &[Requirement]) -> Result<()> {
    let missing = missing(requirements);
    let debian = Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some();
    match decide(&missing, debian, Uid::effective().is_root()) {
        Step::Nothing => Ok(()),
        Step::Ask(words) => bail!(words),
        Step::Install => install(requirements, &missing, apt_get),
    }
}

fn decide(missing: &[&str], debian: bool, root: bool) -> Step {
    let names = missing.join(" ");
    match (missing, debian, root) {
        ([], _, _) => Step::Nothing,
        (_, false, _) => Step::Ask(format!(
            "missing: {names} (Debian's package names; PostgreSQL {POSTGRES_OLDEST} or newer); \
             install them with this system's package manager and have their programs on the path"
        )),
        (_, true, false) => Step::Ask(format!(
            "missing: {names}; install with: sudo apt-get update && sudo apt-get install --yes {names}"
        )),
        (_, true, true) => Step::Install,
    }
}

/// Installs the missing packages by `apt_get`, and looks whether that was enough.
fn install(
    requirements: &[Requirement],
    missing: &[&'static str],
    mut apt_get: impl FnMut(&[&str]) -> Result<()>,
) -> Result<()> {
    eprintln!("installing {}", missing.join(" "));
    apt_get(&["update", "--quiet"])?;
    apt_get(&[&["install", "--yes", "--quiet", "--no-install-recommends"], missing].concat())?;
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
    use std::sync::atomic::{AtomicBool, Ordering};

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

    #[test]
    fn what_is_missing_is_installed_by_root_on_debian_and_asked_for_elsewhere() {
        assert_eq!(decide(&[], false, false), Step::Nothing);
        assert_eq!(decide(&["postgresql", "redis-server"], true, true), Step::Install);
        let Step::Ask(words) = decide(&["postgresql", "redis-server"], true, false) else {
            panic!("installed")
        };
        let typed = "sudo apt-get update && sudo apt-get install --yes postgresql redis-server";
        assert!(words.ends_with(typed), "{words}");
        for root in [true, false] {
            let Step::Ask(words) = decide(&["postgresql"], false, root) else { panic!("installed") };
            assert!(words.contains("package manager") && !words.contains("apt-get"), "{words}");
        }
    }

    #[test]
    fn an_installation_updates_first_installs_what_is_missing_and_is_checked() {
        static INSTALLED: AtomicBool = AtomicBool::new(false);
        let requirements = [
            Requirement { package: "there", present: || true },
            Requirement { package: "wanted", present: || INSTALLED.load(Ordering::SeqCst) },
        ];
        let mut typed = Vec::new();
        let useless = install(&requirements, &["wanted"], |words| {
            typed.push(words.join(" "));
            Ok(())
        });
        let expected = ["update --quiet", "install --yes --quiet --no-install-recommends wanted"];
        assert_eq!(typed, expected);
        assert!(useless.unwrap_err().to_string().contains("wanted installed, and still not usable"));

        install(&requirements, &["wanted"], |_| {
            INSTALLED.store(true, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        let broken = install(&requirements, &["wanted"], |words| bail!("apt-get {} failed", words[0]));
        assert_eq!(broken.unwrap_err().to_string(), "apt-get update failed");
    }
}
