//! The session of the command protocol: any program; its exit code decides, an object it writes to
//! `$FLEXCORE_RESULT` is its result.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use flexcore_actors::domain::quantity::Bytes;
use flexcore_actors::ports::plugin_host::{AttemptEnd, HostEvent, ProgramSpec};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::attend::{Manners, attend};
use super::host::{Attempt, Host};
use super::launch::{Launched, Status};
use super::limits::MAX_ENV_BYTES;
use super::log::Stream;
use super::output::Output;
use super::program::{Prepared, config_of, start_failed};
use super::relay::pipe;
use super::report;
use super::scratch::write_private;
use super::verdict::{Fate, protocol_error};

/// The file of `$FLEXCORE_RESULT`, in the program's private directory.
pub const RESULT: &str = "result.json";

/// Runs one program of the command protocol.
pub async fn run(host: &Host, attempt: &Attempt<'_>, mut program: Prepared) -> AttemptEnd {
    let not_started = |program: &Prepared, cause| {
        let broken = Some((cause, Instant::now()));
        let fate = Fate { plugin: program.plugin.clone(), ended: None, broken, ending: None };
        report::of_one(fate, None, BTreeMap::new(), Value::Null)
    };
    let stdin = match furnish(attempt, &mut program) {
        Ok(stdin) => stdin,
        Err(cause) => return not_started(&program, cause),
    };
    let gone = CancellationToken::new();
    let (launched, stdout, stderr) = match start(host, &program, stdin, &gone).await {
        Ok(started) => started,
        Err(why) => return not_started(&program, start_failed(&program.plugin, why)),
    };
    let pid = launched.pid;
    // nobody listens when the attempt is being given up
    let _ = attempt.events.send(HostEvent::Started { program: 0, pid }).await;
    let never = CancellationToken::new();
    let grace = attempt.spec.grace;
    let manners =
        Manners { stop: &attempt.stop, done: &never, broken: &never, grace, before_signal: Duration::ZERO };
    let (mut fate, (), ()) = tokio::join!(
        attend(&program, launched, &gone, manners),
        stdout.log_to(program.log.clone(), Stream::Stdout),
        stderr.log_to(program.log.clone(), Stream::Stderr),
    );
    report::remark_on_end(&fate, &program.log);
    program.log.close();
    let ended_well = fate.ended.as_ref().is_some_and(|(ended, _)| ended.status == Status::Exit(0));
    let left = fate.ended.as_mut().and_then(|(ended, _)| ended.result.take());
    let result = match left.map_or(Ok(Value::Null), |left| read_result(&*left, program.limits.output)) {
        Ok(result) => result,
        Err(why) => {
            // how a program ended says more than what it left behind
            if ended_well && fate.broken.is_none() {
                fate.broken = Some((protocol_error(&program.plugin, &why, None), Instant::now()));
            }
            Value::Null
        }
    };
    report::of_one(fate, Some(pid), BTreeMap::new(), result)
}

async fn start(
    host: &Host,
    program: &Prepared,
    stdin: Option<OwnedFd>,
    gone: &CancellationToken,
) -> Result<(Launched, Output, Output), String> {
    let pipes = |e: io::Error| format!("its pipes could not be made: {e}");
    let (output, stdout) = pipe::small().map_err(pipes)?;
    let (errors, stderr) = pipe::small().map_err(pipes)?;
    let output = Output::new(output, gone.clone()).map_err(pipes)?;
    let errors = Output::new(errors, gone.clone()).map_err(pipes)?;
    let launched = host.warm.launch(program, stdin, stdout, stderr).await.map_err(|e| e.to_string())?;
    Ok((launched, output, errors))
}

/// Adds what the configuration, operation and parameters say: arguments, variables, standard input.
fn furnish(
    attempt: &Attempt<'_>,
    program: &mut Prepared,
) -> Result<Option<OwnedFd>, flexcore_actors::domain::outcome::Cause> {
    let spec = &attempt.spec.programs[0];
    let plugin = program.plugin.clone();
    let failed = |why: String| start_failed(&plugin, why);
    let config_path = program.place("config.json", &config_of(spec));
    program.argv.extend(arguments(&spec.config).map_err(failed)?);
    for (name, value) in variables(spec, attempt, &program.workdir, config_path).map_err(failed)? {
        program.env.retain(|(known, _)| *known != name);
        program.env.push((name, value));
    }
    let text = match spec.config.get("stdin") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let path = program.workdir.join("stdin");
    let open = || -> io::Result<OwnedFd> {
        write_private(&path, text.as_bytes())?;
        Ok(File::open(&path)?.into())
    };
    open().map(Some).map_err(|e| failed(format!("its standard input cannot be written: {e}")))
}

fn arguments(config: &Value) -> Result<Vec<String>, String> {
    let Some(args) = config.get("args").filter(|args| !args.is_null()) else { return Ok(Vec::new()) };
    let texts = args.as_array().and_then(|args| args.iter().map(plain_text).collect::<Option<Vec<_>>>());
    texts.ok_or_else(|| "config.args must be a list of texts and numbers".to_owned())
}

fn variables(
    spec: &ProgramSpec,
    attempt: &Attempt<'_>,
    workdir: &Path,
    config_path: String,
) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    if let Some(env) = spec.config.get("env").filter(|env| !env.is_null()) {
        let env = env.as_object().ok_or("config.env must be an object of texts")?;
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) || name.starts_with("FLEXCORE_") {
                return Err(format!("config.env: {name:?} cannot be the name of a variable"));
            }
            let value =
                plain_text(value).ok_or_else(|| format!("config.env.{name} must be a text or a number"))?;
            variables.push((name.clone(), value));
        }
    }
    let parameters = if spec.parameters.is_null() { "{}".to_owned() } else { spec.parameters.to_string() };
    variables.extend([
        ("FLEXCORE_EXECUTION_ID".to_owned(), attempt.spec.execution.to_string()),
        ("FLEXCORE_OPERATION".to_owned(), spec.operation.clone().unwrap_or_default()),
        ("FLEXCORE_PARAMETERS".to_owned(), parameters),
        ("FLEXCORE_CONFIG".to_owned(), config_path),
        ("FLEXCORE_RESULT".to_owned(), workdir.join(RESULT).to_string_lossy().into_owned()),
    ]);
    let long = variables.iter().find(|(name, value)| name.len() + value.len() + 2 > MAX_ENV_BYTES);
    match long {
        Some((name, _)) => Err(format!(
            "{name} is longer than the {} KiB that Linux passes in a variable; pass large values in the config",
            MAX_ENV_BYTES >> 10
        )),
        None => Ok(variables),
    }
}

fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Reads the result a program left; nothing in it is `null`.
fn read_result(file: impl Read, limit: Bytes) -> Result<Value, String> {
    let mut bytes = Vec::new();
    file.take(limit.0.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| format!("$FLEXCORE_RESULT cannot be read: {e}"))?;
    if bytes.len() as u64 > limit.0 {
        return Err(format!("$FLEXCORE_RESULT is larger than limits.output ({limit})"));
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err("$FLEXCORE_RESULT must hold a JSON object".to_owned()),
        Err(e) => Err(format!("$FLEXCORE_RESULT is not JSON (line {}, column {})", e.line(), e.column())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use serde_json::json;

    use super::*;

    #[test]
    fn results() {
        let read = |content: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.rewind().unwrap();
            read_result(file, Bytes(64))
        };
        for (content, expected) in [("", Value::Null), (" \n", Value::Null), (r#"{"a":1}"#, json!({"a": 1}))]
        {
            assert_eq!(read(content), Ok(expected), "{content}");
        }
        for bad in ["[1]", "null", "{", "text"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(80));
        assert!(read(&large).unwrap_err().contains("limits.output (64B)"));
    }

    #[test]
    fn args_are_texts() {
        assert_eq!(
            arguments(&json!({"args": ["-n", 1, true]})),
            Ok(vec!["-n".into(), "1".into(), "true".into()])
        );
        assert_eq!(arguments(&json!({})), Ok(vec![]));
        assert!(arguments(&json!({"args": "x"})).is_err());
        assert!(arguments(&json!({"args": [{}]})).is_err());
    }
}
