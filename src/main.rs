//! The binary: one file that answers to several names. Never in here: anything those names do.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// A program that ships in this file.
type Program = fn() -> ExitCode;

/// The programs that ship in this file, by the name they are started under.
const PROGRAMS: &[(&str, Program)] = &[
    ("flexcore-jailer", flexcore_jailer::main),
    ("flexcore-tap-file", flexcore_plugins::tap_file::main),
    ("flexcore-target-file", flexcore_plugins::target_file::main),
    ("flexcore-sample", flexcore_plugins::sample::main),
];

fn main() -> ExitCode {
    // before any runtime or thread: the launcher must stay single-threaded until it becomes the program
    let name = std::env::args_os().next();
    if let Some(program) = name.as_deref().and_then(program_of) {
        return program();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(flexcore::cli::main());
    // whatever still runs is not waited for: a second signal has to end the process at once
    runtime.shutdown_background();
    code
}

fn program_of(argv0: &OsStr) -> Option<Program> {
    let name = Path::new(argv0).file_name()?.to_str()?;
    PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, program)| *program)
}
