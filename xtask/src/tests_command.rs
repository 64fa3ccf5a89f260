//! `cargo xtask test`: everything that a change must pass, against the real programs and private servers.
//!
//! The test runner's own summary is the last thing printed: nothing may be written after it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::services::Services;
use crate::{foreground, packages};

/// The whole workspace, as every step below sees it: one feature set, so that nothing is compiled twice.
const WORKSPACE: [&str; 2] = ["--workspace", "--all-features"];

/// Builds, starts the servers, runs the tests (all, or those that `arguments` select) and returns the runner's code.
pub fn run(arguments: &[OsString]) -> Result<u8> {
    foreground::catch_interruptions()?;
    packages::python()?;
    packages::clocks()?;
    // The tests run the real programs of every package, which a test runner alone would not build. With `--tests`,
    // dependencies get the features that the test binaries need: again, nothing is compiled twice.
    let built = foreground::run(cargo(["build", "--bins", "--tests"]).args(WORKSPACE))?;
    if let Some(code) = stopped(built) {
        return Ok(code);
    }
    let services = Services::start()?;
    if arguments.is_empty() {
        // First, so that the summary of all other tests comes last.
        let documented = foreground::run(services.announce(cargo(["test", "--doc"]).args(WORKSPACE)))?;
        if let Some(code) = stopped(documented) {
            return Ok(code);
        }
    }
    let mut runner = if has_nextest() { nextest(arguments) } else { plain(arguments) };
    foreground::run(services.announce(&mut runner))
}

/// The code to end with after a step, where the next one must not follow.
fn stopped(code: u8) -> Option<u8> {
    foreground::interrupted().or((code != 0).then_some(code))
}

/// nextest takes filters and its own options in one list.
fn nextest(arguments: &[OsString]) -> Command {
    let mut command = cargo(["nextest", "run"]);
    command.args(WORKSPACE).args(arguments);
    command
}

/// The runner that comes with Rust: the arguments go to every test binary. Test files of one package run one after
/// the other, tests of one file at once. Doc tests have run already, benches are no tests.
fn plain(arguments: &[OsString]) -> Command {
    let mut command = cargo(["test", "--lib", "--bins", "--tests", "--examples"]);
    command.args(WORKSPACE).arg("--").args(arguments);
    command
}

fn has_nextest() -> bool {
    let run = cargo(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// The cargo that runs us, at the workspace's root.
fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments.map(OsStr::new)).current_dir(root());
    command
}

/// The workspace's root: the folder above this crate's.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &Command) -> String {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn filters_reach_either_runner() {
        let filter = [OsString::from("conformance")];
        assert_eq!(line(&nextest(&filter)), "nextest run --workspace --all-features conformance");
        let plain = line(&plain(&filter));
        assert!(plain.ends_with("--workspace --all-features -- conformance"), "{plain}");
    }

    #[test]
    fn a_failed_step_ends_the_command_with_its_code() {
        assert_eq!(stopped(0), None);
        assert_eq!(stopped(101), Some(101));
    }

    #[test]
    fn the_workspace_is_the_folder_above_this_crate() {
        assert!(root().join("xtask").is_dir() && root().join("Cargo.lock").is_file());
    }
}
