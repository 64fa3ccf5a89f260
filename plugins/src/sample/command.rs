//! The sample as a command: echoes operation and parameters as its result and ends with the configured code.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::config::Config;
use super::faults;
use crate::Error;

/// The most of standard input that is echoed, in bytes.
const MAX_STDIN: u64 = 1 << 20;

/// What a runtime tells a command through its environment.
pub(super) struct Environment {
    pub operation: Option<String>,
    pub parameters: Value,
    pub result: Option<String>,
}

impl Environment {
    /// From `FLEXCORE_OPERATION`, `FLEXCORE_PARAMETERS` (JSON) and `FLEXCORE_RESULT` (a path).
    pub fn read() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let parameters = variable("FLEXCORE_PARAMETERS").map_or(Ok(Value::Null), |text| {
            serde_json::from_str(&text)
                .map_err(|error| Error::invalid(format!("FLEXCORE_PARAMETERS is not json: {error}")))
        })?;
        Ok(Self {
            operation: variable("FLEXCORE_OPERATION"),
            parameters,
            result: variable("FLEXCORE_RESULT"),
        })
    }
}

/// Says hello on both streams, writes the result object, and ends as configured.
pub(super) fn run(
    config: &Config,
    environment: &Environment,
    arguments: &[String],
    input: impl Read,
    mut output: impl Write,
) -> Result<(), Error> {
    let mut stdin = Vec::new();
    let read = input.take(MAX_STDIN).read_to_end(&mut stdin);
    read.map_err(|source| Error::Stream { operation: "read standard input", source })?;
    writeln!(output, "hello from the sample command").and_then(|()| output.flush()).map_err(Error::stdout)?;
    faults::after(config, 0)?;
    if let Some(path) = &environment.result {
        let result = json!({
            "operation": environment.operation,
            "parameters": environment.parameters,
            "arguments": arguments,
            "stdin_bytes": stdin.len(),
        });
        std::fs::write(path, format!("{result}\n"))
            .map_err(Error::file("write the result", Path::new(path)))?;
    }
    if config.exit_code > 0 { Err(Error::Exit(config.exit_code)) } else { Ok(()) }
}
