//! The project's own commands: the one test command of the README, and its private servers around any other command.
//!
//! Nothing here is shipped: no code of the product belongs in this crate, and the product never depends on it.

mod account;
mod foreground;
mod packages;
mod private_server;
mod scratch;
mod services;
mod tests_command;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
usage:
  cargo xtask test [-- FILTER OR RUNNER OPTION…]   run every test against private PostgreSQL and Redis servers
  cargo xtask services -- COMMAND [ARGUMENT…]      run a command with the same servers (FLEXCORE_TEST_POSTGRES_URL,
                                                   FLEXCORE_TEST_REDIS_URL), for benches and development
";

/// The exit code for a command line that cannot be understood.
const USAGE_ERROR: u8 = 2;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Request {
    Help,
    Test(Vec<OsString>),
    Services(Vec<OsString>),
}

fn main() -> ExitCode {
    let Some(request) = parse(std::env::args_os().skip(1).collect()) else {
        eprint!("{USAGE}");
        return ExitCode::from(USAGE_ERROR);
    };
    let outcome = match request {
        Request::Help => {
            eprint!("{USAGE}");
            Ok(0)
        }
        Request::Test(arguments) => tests_command::run(&arguments),
        Request::Services(command) => services::around(&command),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` where it makes no sense.
fn parse(arguments: Vec<OsString>) -> Option<Request> {
    let mut arguments = arguments.into_iter();
    let command = arguments.next()?.into_string().ok()?;
    let mut rest: Vec<OsString> = arguments.collect();
    if rest.first().is_some_and(|first| first == "--") {
        rest.remove(0);
    }
    match command.as_str() {
        "help" | "-h" | "--help" => Some(Request::Help),
        "test" => Some(Request::Test(rest)),
        "services" if !rest.is_empty() => Some(Request::Services(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn what_follows_the_two_dashes_is_passed_on_untouched() {
        assert_eq!(parse(words("test")), Some(Request::Test(vec![])));
        assert_eq!(
            parse(words("test -- store --no-capture")),
            Some(Request::Test(words("store --no-capture")))
        );
        assert_eq!(parse(words("services -- env -- x")), Some(Request::Services(words("env -- x"))));
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_refused() {
        for line in ["", "tests", "services", "services --"] {
            assert_eq!(parse(words(line)), None, "{line:?}");
        }
    }
}
