//! The launcher as a program of its own. Nothing else belongs here: `flexcore` runs the same function under this name.

fn main() -> std::process::ExitCode {
    flexcore_jailer::main()
}
