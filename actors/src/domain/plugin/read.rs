//! Reads a manifest from the file format and reports everything that is wrong with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::capabilities::read_capabilities;
use super::manifest::{
    DEFAULT_CONCURRENCY, Environment, Limits, Manifest, PluginType, Protocol, PythonEnvironment,
};
use crate::domain::ids::Name;
use crate::domain::labels::read_labels;
use crate::domain::problem::Problems;
use crate::domain::quantity::Bytes;
use crate::domain::reader::Object;

/// Reads `value` (`kind: Plugin`).
///
/// # Errors
/// Every problem at once, with its field.
pub fn read_manifest(value: &Value) -> Result<Manifest, Problems> {
    let problems = Rc::new(RefCell::new(Problems::default()));
    let mut object = Object::open(value, "", &problems);
    object.word("kind", &[("Plugin", ())]);
    let name = object.name("name");
    let manifest = Manifest {
        version: object.required_text("version"),
        kind: read_type(&mut object),
        protocol: read_protocol(&mut object),
        command: read_command(&mut object),
        environment: read_environment(&mut object),
        config_schema: read_schema(&mut object),
        capabilities: read_capabilities(&mut object),
        limits: read_limits(&mut object),
        concurrency: object
            .integer("concurrency", 1..=10_000)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(DEFAULT_CONCURRENCY),
        node_selector: read_labels(&mut object, "node_selector"),
        name: name.unwrap_or_else(placeholder),
    };
    if manifest.protocol != Protocol::Singer && matches!(manifest.kind, PluginType::Mapper) {
        object.problem("type", "a mapper stands in a Singer pipe: use protocol singer");
    }
    if manifest.protocol != Protocol::Flexcore && !manifest.capabilities.api.is_empty() {
        object.problem(
            "capabilities.api",
            "only programs of protocol flexcore can make calls: remove the entries",
        );
    }
    object.finish();
    let problems = problems.take();
    problems.into_result(manifest)
}

/// Stands for a name that was refused; never leaves this module, because the problem does.
fn placeholder() -> Name {
    Name::new("unnamed").expect("a valid slug")
}

fn read_type(object: &mut Object<'_>) -> PluginType {
    let words = [
        ("extractor", PluginType::Extractor),
        ("loader", PluginType::Loader),
        ("transformer", PluginType::Transformer),
        ("mapper", PluginType::Mapper),
        ("processor", PluginType::Processor),
        ("service", PluginType::Service),
    ];
    required_word(object, "type", &words).unwrap_or(PluginType::Processor)
}

fn read_protocol(object: &mut Object<'_>) -> Protocol {
    if object.value("protocol").and_then(Value::as_str) == Some("http") {
        object.problem(
            "protocol",
            "protocol http is not supported yet: it comes with the gateway; use singer, command or flexcore",
        );
        return Protocol::Command;
    }
    let words =
        [("singer", Protocol::Singer), ("command", Protocol::Command), ("flexcore", Protocol::Flexcore)];
    required_word(object, "protocol", &words).unwrap_or(Protocol::Command)
}

fn required_word<T: Copy>(object: &mut Object<'_>, key: &'static str, words: &[(&str, T)]) -> Option<T> {
    if object.value(key).is_none() {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        object.problem(key, format!("{key} is required: one of {}", all.join(", ")));
    }
    object.word(key, words)
}

fn read_command(object: &mut Object<'_>) -> Vec<String> {
    let command = object.texts("command");
    if command.first().is_none_or(String::is_empty) {
        object.problem(
            "command",
            "command is required: a list of the program and its arguments, such as [tap-csv]",
        );
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        object.problem("command", "an argument cannot hold a NUL character");
    }
    command
}

fn read_environment(object: &mut Object<'_>) -> Option<Environment> {
    let mut environment = object.object("environment")?;
    let python = environment.object("python").map(|mut python| {
        let requirements = python.texts("requirements");
        if requirements.is_empty() {
            python.problem("requirements", "requirements is required: at least one, such as [tap-csv==1.0.0]");
        }
        for requirement in &requirements {
            // a leading dash would be an option to pip, a newline another requirement
            if requirement.starts_with('-') || requirement.contains(['\n', '\r', '\0']) || requirement.len() > 500 {
                let message = format!("{requirement:?} is not a requirement: write a package with its version, such as tap-csv==1.0.0");
                python.problem("requirements", message);
            }
        }
        let index = python.text("index").unwrap_or("default").to_owned();
        if index != "default" && !index.starts_with("https://") {
            python.problem("index", "expected default or an https:// address");
        }
        python.finish();
        PythonEnvironment { requirements, index }
    });
    if python.is_none() {
        environment.problem("python", "python is required: the only environment there is");
    }
    environment.finish();
    python.map(|python| Environment { python })
}

fn read_schema(object: &mut Object<'_>) -> Value {
    let Some(schema) = object.value("config_schema") else { return Value::Object(serde_json::Map::new()) };
    if !schema.is_object() {
        object.problem("config_schema", "expected a JSON Schema object; {} accepts everything");
    } else if let Err(error) = jsonschema::validator_for(schema) {
        object.problem("config_schema", format!("not a JSON Schema: {error}"));
    }
    schema.clone()
}

fn read_limits(object: &mut Object<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut keys) = object.object("limits") else { return limits };
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    for (key, least, place) in [
        ("memory", Bytes::mib(1), &mut limits.memory),
        ("scratch", Bytes::mib(1), &mut limits.scratch),
        ("line", Bytes(1024), &mut limits.line),
        ("output", Bytes(1024), &mut limits.output),
    ] {
        if let Some(bytes) = keys.bytes(key) {
            if bytes < least || bytes > Bytes(1 << 44) {
                keys.problem(key, format!("{bytes} is out of bounds: at least {least}, at most 16384GiB"));
            }
            *place = bytes;
        }
    }
    if let Some(cpus) = keys.number("cpus") {
        if !(0.01..=1024.0).contains(&cpus) {
            keys.problem("cpus", "expected a number from 0.01 to 1024");
        }
        limits.cpus = cpus;
    }
    limits.processes = keys.integer("processes", 1..=100_000).map_or(limits.processes, small);
    limits.open_files = keys.integer("open_files", 8..=1_048_576).map_or(limits.open_files, small);
    limits.file_size = keys.bytes("file_size");
    if limits.file_size == Some(Bytes(0)) {
        keys.problem("file_size", "0 would let it write nothing: leave it out, or grant no path to write");
    }
    for (key, place) in [("cpu_time", &mut limits.cpu_time), ("wall_time", &mut limits.wall_time)] {
        *place = keys.duration(key);
        if place.is_some_and(|d| d < Duration::from_secs(1)) {
            keys.problem(key, "expected at least 1s");
        }
    }
    keys.finish();
    limits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Vec<String> {
        read_manifest(value).unwrap_err().0.into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn the_contract_example_reads_and_round_trips() {
        let manifest = read_manifest(&json!({
            "kind": "Plugin", "name": "tap-csv", "version": "1.0.0", "type": "extractor", "protocol": "singer",
            "command": ["tap-csv"],
            "environment": {"python": {"requirements": ["tap-csv==1.0.0"], "index": "default"}},
            "config_schema": {},
            "capabilities": {"read": ["/data/in"], "write": ["${workdir}/out"], "connect": ["db.internal:5432"], "env": ["TZ"],
                             "secrets": ["DB_PASSWORD"], "subprocess": true},
            "limits": {"memory": "1GiB", "cpus": 0.5, "wall_time": "1h", "file_size": "1GiB"},
        }))
        .unwrap();
        assert_eq!(manifest.limits.memory, Bytes::mib(1024));
        assert_eq!(manifest.concurrency, 8);
        let again = read_manifest(&serde_json::to_value(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
        assert_eq!(
            crate::domain::codec::from_bytes::<Manifest>(&crate::domain::codec::to_bytes(&manifest)).unwrap(),
            manifest
        );
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let problems = fields(&json!({
            "name": "Tap CSV", "type": "extracter", "protocol": "http", "comand": ["x"],
            "capabilities": {"read": ["data"], "connect": ["db", "*:1", "h:0"], "env": ["1A"], "secrets": ["A-B"], "api": ["x"], "root": true},
            "limits": {"memory": "0", "cpus": 0, "wall_time": "soon"},
            "environment": {"python": {"requirements": ["--index-url=http://x"]}},
        }));
        for field in [
            "name",
            "version",
            "type",
            "protocol",
            "command",
            "comand",
            "capabilities.read[0]",
            "capabilities.connect[0]",
            "capabilities.connect[1]",
            "capabilities.connect[2]",
            "capabilities.env[0]",
            "capabilities.secrets[0]",
            "capabilities.api[0]",
            "capabilities.root",
            "limits.memory",
            "limits.cpus",
            "limits.wall_time",
            "environment.python.requirements",
        ] {
            assert!(problems.iter().any(|p| p == field), "{field} is not in {problems:?}");
        }
    }

    #[test]
    fn calls_are_for_the_flexcore_protocol() {
        let manifest = |protocol: &str| {
            json!({"name": "a", "version": "1", "type": "processor", "protocol": protocol, "command": ["a"],
                   "capabilities": {"api": ["bookmarks.read", "events.publish"]}})
        };
        let read = read_manifest(&manifest("flexcore")).unwrap();
        assert_eq!(read.capabilities.api, ["bookmarks.read", "events.publish"]);
        let refused = read_manifest(&manifest("command")).unwrap_err().to_string();
        assert!(refused.starts_with("capabilities.api: only programs of protocol flexcore"), "{refused}");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let problems =
            read_manifest(&json!({"name": "a", "version": "1", "type": "loader", "protocol": "singer",
            "command": ["a"], "concurency": 3}))
            .unwrap_err();
        assert_eq!(
            problems.to_string(),
            "concurency: unknown key \"concurency\"; did you mean \"concurrency\"?"
        );
    }
}
