//! The `flexcore-tap-file` binary: calls its module in the library, and holds nothing else.

fn main() -> std::process::ExitCode {
    flexcore_plugins::tap_file::main()
}
