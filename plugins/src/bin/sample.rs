//! The `flexcore-sample` binary: calls its module in the library, and holds nothing else.

fn main() -> std::process::ExitCode {
    flexcore_plugins::sample::main()
}
