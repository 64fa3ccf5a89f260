//! Reads a pipeline's definition from the file format and reports everything that is wrong with its shape. What
//! depends on other things (plugins, the graph) is [`super::validate()`]'s.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::definition::{
    Concurrency, DEFAULT_PRIORITY, Definition, OnConflict, Parameter, ParameterType, Step, StepProgram, When,
};
use crate::domain::ids::Name;
use crate::domain::problem::Problems;
use crate::domain::reader::Object;
use crate::domain::retry::{RetryOn, RetryPolicy};
use crate::limits::{MAX_ATTEMPTS, MAX_PIPE, MAX_STEPS};

/// Reads `value` (`kind: Pipeline`).
///
/// # Errors
/// Every problem at once, with its field.
pub fn read_definition(value: &Value) -> Result<Definition, Problems> {
    let (definition, problems) = read_leniently(value);
    problems.into_result(definition)
}

/// Reads `value` as far as it can be read, with what is wrong so far: so that the rest can be checked too and all
/// problems are told at once. Only without problems is the definition what the file says.
#[must_use]
pub fn read_leniently(value: &Value) -> (Definition, Problems) {
    let problems = Rc::new(RefCell::new(Problems::default()));
    let mut object = Object::open(value, "", &problems);
    object.word("kind", &[("Pipeline", ())]);
    let name = object.name("name");
    let definition = Definition {
        description: object.text("description").unwrap_or_default().to_owned(),
        owner: object.text("owner").unwrap_or_default().to_owned(),
        parameters: read_parameters(&mut object),
        concurrency: read_concurrency(&mut object),
        priority: object
            .integer("priority", 0..=9)
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(DEFAULT_PRIORITY),
        steps: read_steps(&mut object),
        name: name.unwrap_or_else(placeholder),
    };
    object.not_supported("schedule", "orchestration");
    object.not_supported("triggers", "orchestration");
    object.finish();
    (definition, problems.take())
}

/// Stands for a name that was refused; never leaves this module, because the problem does.
fn placeholder() -> Name {
    Name::new("unnamed").expect("a valid slug")
}

fn read_parameters(object: &mut Object<'_>) -> BTreeMap<String, Parameter> {
    let types = [
        ("string", ParameterType::String),
        ("integer", ParameterType::Integer),
        ("number", ParameterType::Number),
        ("boolean", ParameterType::Boolean),
    ];
    let mut parameters = BTreeMap::new();
    let Some(map) = object.value("parameters") else { return parameters };
    let Some(map) = map.as_object() else {
        object.problem("parameters", "expected an object of name to {type, default}");
        return parameters;
    };
    for (name, value) in map {
        let mut parameter =
            Object::open(value, object.path_of(&format!("parameters.{name}")), object.problems());
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            parameter.problem(
                "",
                format!("{name:?} is not the name of a parameter: use letters, digits, '_' and '-'"),
            );
        }
        let kind = parameter.word("type", &types).unwrap_or(ParameterType::String);
        let default = parameter.value("default").cloned().unwrap_or_default();
        let is_template = default.as_str().is_some_and(|text| text.contains("${"));
        if !default.is_null() && !is_template && !kind.accepts(&default) {
            parameter.problem("default", "the default is not of the parameter's type");
        }
        parameter.finish();
        parameters.insert(name.clone(), Parameter { kind, default });
    }
    parameters
}

fn read_concurrency(object: &mut Object<'_>) -> Concurrency {
    let mut concurrency = Concurrency::default();
    let Some(mut keys) = object.object("concurrency") else { return concurrency };
    let executions = keys.integer("executions", 1..=1_000).and_then(|n| u32::try_from(n).ok());
    concurrency.executions = executions.unwrap_or(concurrency.executions);
    let words =
        [("queue", OnConflict::Queue), ("reject", OnConflict::Reject), ("replace", OnConflict::Replace)];
    concurrency.on_conflict = keys.word("on_conflict", &words).unwrap_or(concurrency.on_conflict);
    keys.finish();
    concurrency
}

fn read_steps(object: &mut Object<'_>) -> Vec<Step> {
    let list = object.list("steps");
    if list.is_empty() || list.len() > MAX_STEPS {
        object.problem("steps", format!("steps is required: a list of 1 to {MAX_STEPS} steps"));
    }
    let open = |(n, value)| Object::open(value, object.path_of(&format!("steps[{n}]")), object.problems());
    list.iter().take(MAX_STEPS).enumerate().map(open).map(read_step).collect()
}

fn read_step(mut object: Object<'_>) -> Step {
    let name = object.name("name");
    let pipe = read_pipe(&mut object);
    let words =
        [("all_succeeded", When::AllSucceeded), ("all_done", When::AllDone), ("any_failed", When::AnyFailed)];
    let timeout = object.duration("timeout");
    if timeout.is_some_and(|t| t.is_zero()) {
        object.problem("timeout", "expected more than 0");
    }
    let bookmark = object.text("bookmark").map(str::to_owned);
    if bookmark.as_ref().is_some_and(|b| b.is_empty() || b.len() > 200 || b.chars().any(char::is_control)) {
        object.problem("bookmark", "expected 1 to 200 printable characters");
    }
    let mut depends_on = Vec::new();
    for text in object.texts("depends_on") {
        match Name::new(text) {
            Ok(name) => depends_on.push(name),
            Err(error) => object.problem("depends_on", error.to_string()),
        }
    }
    let step = Step {
        pipe,
        bookmark,
        retry: read_retry(&mut object),
        timeout,
        depends_on,
        when: object.word("when", &words).unwrap_or_default(),
        name: name.unwrap_or_else(placeholder),
    };
    object.finish();
    step
}

/// The programs of a step: `pipe: [...]`, or the keys of one program in the step itself.
fn read_pipe(object: &mut Object<'_>) -> Vec<StepProgram> {
    if object.value("pipe").is_none() {
        return vec![read_program(object)];
    }
    if object.value("plugin").is_some() {
        object.problem("plugin", "a step has either a pipe or a plugin, not both");
    }
    let list = object.list("pipe");
    if list.is_empty() || list.len() > MAX_PIPE {
        object.problem("pipe", format!("expected a list of 1 to {MAX_PIPE} programs"));
    }
    let mut programs = Vec::new();
    for (n, value) in list.iter().take(MAX_PIPE).enumerate() {
        let mut program = Object::open(value, object.path_of(&format!("pipe[{n}]")), object.problems());
        programs.push(read_program(&mut program));
        program.finish();
    }
    programs
}

fn read_program(object: &mut Object<'_>) -> StepProgram {
    let plugin = object.name("plugin").unwrap_or_else(placeholder);
    let mut json_object = |key| {
        let value = object.value(key);
        if value.is_some_and(|v| !v.is_object()) {
            object.problem(key, "expected an object");
        }
        value.cloned()
    };
    let config = json_object("config").unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    // a catalog without streams is none: programs take the option as "only these"
    let catalog = json_object("catalog").filter(|catalog| catalog.as_object().is_some_and(|c| !c.is_empty()));
    let parameters = json_object("parameters").unwrap_or_default();
    let select = object.texts("select");
    let operation = object.text("operation").map(str::to_owned);
    StepProgram { plugin, config, catalog, select, operation, parameters }
}

fn read_retry(object: &mut Object<'_>) -> RetryPolicy {
    let mut retry = RetryPolicy::default();
    let Some(mut keys) = object.object("retry") else { return retry };
    let attempts = keys.integer("attempts", 1..=u64::from(MAX_ATTEMPTS)).and_then(|n| u32::try_from(n).ok());
    retry.attempts = attempts.unwrap_or(retry.attempts);
    retry.initial = keys.duration("initial").unwrap_or(retry.initial);
    retry.max = keys.duration("max").unwrap_or_else(|| retry.max.max(retry.initial));
    if retry.max < retry.initial {
        keys.problem("max", "expected at least the initial pause");
    }
    for (key, range, place) in
        [("factor", 1.0..=100.0, &mut retry.factor), ("jitter", 0.0..=1.0, &mut retry.jitter)]
    {
        if let Some(number) = keys.number(key) {
            if !range.contains(&number) {
                keys.problem(key, format!("expected a number from {} to {}", range.start(), range.end()));
            }
            *place = number;
        }
    }
    if keys.value("on").is_some() {
        retry.on = Vec::new();
        for word in keys.texts("on") {
            match word.as_str() {
                "crash" => retry.on.push(RetryOn::Crash),
                "timeout" => retry.on.push(RetryOn::Timeout),
                "exit" => retry.on.push(RetryOn::Exit),
                other => keys.problem("on", format!("{other:?} is not one of crash, timeout, exit")),
            }
        }
    }
    keys.finish();
    retry
}
