//! The `flexcore-target-file` binary: calls its module in the library, and holds nothing else.

fn main() -> std::process::ExitCode {
    flexcore_plugins::target_file::main()
}
