//! Domain service: is a pipeline sound as a whole? Its graph, its pipes against the plugins they name, its
//! placeholders. Every problem at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::definition::{Definition, Parameter, ParameterType, Step, When};
use super::secrets::secret_problems;
use super::template::{check_template, placeholders};
use crate::domain::ids::Name;
use crate::domain::labels;
use crate::domain::plugin::{Manifest, PluginType, Protocol};
use crate::domain::problem::Problems;
use crate::domain::reader::nearest;

/// Checks a definition against the plugins that exist (by name; retired ones left out).
///
/// # Errors
/// Every problem at once, with its field.
pub fn validate(definition: &Definition, plugins: &BTreeMap<Name, Manifest>) -> Result<(), Problems> {
    let mut problems = Problems::default();
    check_names(definition, &mut problems);
    check_cycles(definition, &mut problems);
    check_parameters(definition, &mut problems);
    for (n, step) in definition.steps.iter().enumerate() {
        check_pipe(step, n, plugins, &mut problems);
        check_configs(definition, step, n, plugins, &mut problems);
    }
    problems.into_result(())
}

/// The path of a program of a step as the file most likely has it.
fn program_path(step: &Step, step_index: usize, program: usize) -> String {
    if step.pipe.len() == 1 {
        format!("steps[{step_index}]")
    } else {
        format!("steps[{step_index}].pipe[{program}]")
    }
}

fn check_names(definition: &Definition, problems: &mut Problems) {
    let names: BTreeSet<&Name> = definition.steps.iter().map(|s| &s.name).collect();
    let known: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
    let (mut seen, mut bookmarks) = (BTreeSet::new(), BTreeMap::new());
    for (n, step) in definition.steps.iter().enumerate() {
        if !seen.insert(&step.name) {
            problems.add(format!("steps[{n}].name"), format!("duplicate step name {:?}", step.name.as_str()));
        }
        if let Some(other) = bookmarks.insert(step.bookmark_name(&definition.name), &step.name)
            && *other != step.name
        {
            let message = format!("step {other} already uses this bookmark: give each step its own");
            problems.add(format!("steps[{n}].bookmark"), message);
        }
        if step.when == When::AnyFailed && step.depends_on.is_empty() {
            let message = "any_failed without depends_on never runs: name the steps that it watches";
            problems.add(format!("steps[{n}].when"), message);
        }
        for dependency in step.depends_on.iter().filter(|d| !names.contains(d)) {
            let hint = nearest(dependency.as_str(), &known)
                .map_or_else(String::new, |k| format!("; did you mean {k:?}?"));
            problems.add(
                format!("steps[{n}].depends_on"),
                format!("unknown step {:?}{hint}", dependency.as_str()),
            );
        }
    }
}

/// Depth-first search; a step met again on its own path closes a cycle, which is named in full.
fn check_cycles(definition: &Definition, problems: &mut Problems) {
    let steps: BTreeMap<&Name, &Step> = definition.steps.iter().map(|s| (&s.name, s)).collect();
    let (mut done, mut path) = (BTreeSet::new(), Vec::new());
    for step in &definition.steps {
        if let Some(cycle) = find_cycle(step, &steps, &mut done, &mut path) {
            let names: Vec<&str> = cycle.iter().map(|n| n.as_str()).collect();
            problems
                .add("steps", format!("the steps depend on each other in a cycle: {}", names.join(" → ")));
            return;
        }
    }
}

fn find_cycle<'d>(
    step: &'d Step,
    steps: &BTreeMap<&'d Name, &'d Step>,
    done: &mut BTreeSet<&'d Name>,
    path: &mut Vec<&'d Name>,
) -> Option<Vec<&'d Name>> {
    if let Some(start) = path.iter().position(|name| **name == step.name) {
        let mut cycle = path[start..].to_vec();
        cycle.push(&step.name);
        return Some(cycle);
    }
    if !done.insert(&step.name) {
        return None;
    }
    path.push(&step.name);
    let next = step.depends_on.iter().filter_map(|name| steps.get(name));
    let cycle = next.into_iter().find_map(|step| find_cycle(step, steps, done, path));
    path.pop();
    cycle
}

fn check_parameters(definition: &Definition, problems: &mut Problems) {
    for (name, parameter) in &definition.parameters {
        let Some(text) = parameter.default.as_str() else { continue };
        let field = format!("parameters.{name}.default");
        let mut found = placeholders(text).peekable();
        if parameter.kind != ParameterType::String && found.peek().is_some() {
            problems.add(field, "a placeholder is a text: declare the parameter as type string");
        } else if found.any(|placeholder| placeholder != Ok("today")) {
            // it is filled in when the execution is asked for: nothing else is known by then
            problems.add(field, "only ${today} can be used in a default: remove the other placeholders");
        }
    }
}

fn check_pipe(step: &Step, n: usize, plugins: &BTreeMap<Name, Manifest>, problems: &mut Problems) {
    let known: Vec<&str> = plugins.keys().map(Name::as_str).collect();
    let Some(last) = step.pipe.len().checked_sub(1) else {
        problems.add(format!("steps[{n}].pipe"), "a step needs at least one program");
        return;
    };
    let selectors = step.pipe.iter().filter_map(|program| plugins.get(&program.plugin));
    if let Err(label) = labels::together(selectors.map(|manifest| &manifest.node_selector)) {
        problems.add(
            format!("steps[{n}].pipe"),
            format!("its plugins ask for different values of the node label {label:?} (node_selector): no node has both"),
        );
    }
    for (i, program) in step.pipe.iter().enumerate() {
        let path = program_path(step, n, i);
        let Some(manifest) = plugins.get(&program.plugin) else {
            let hint = nearest(program.plugin.as_str(), &known)
                .map_or_else(|| "register it first".to_owned(), |k| format!("did you mean {k:?}?"));
            problems.add(
                format!("{path}.plugin"),
                format!("unknown plugin {:?}: {hint}", program.plugin.as_str()),
            );
            continue;
        };
        if last > 0
            && let Some(message) = misplaced(manifest, i, last)
        {
            problems.add(format!("{path}.plugin"), message);
        }
        if last == 0
            && matches!(manifest.kind, PluginType::Loader | PluginType::Mapper)
            && manifest.protocol == Protocol::Singer
        {
            let message = format!("{} needs an extractor before it: put both in a pipe", manifest.name);
            problems.add(format!("{path}.plugin"), message);
        }
        if program.operation.is_some() && manifest.protocol == Protocol::Singer {
            problems.add(format!("{path}.operation"), "a singer plugin has no operations: remove the key");
        }
        if manifest.protocol != Protocol::Singer && (program.catalog.is_some() || !program.select.is_empty())
        {
            problems
                .add(format!("{path}.catalog"), "catalog and select are for singer plugins: remove the key");
        }
    }
}

/// An extractor starts a pipe, a loader ends it, mappers stand between; all speak Singer.
fn misplaced(manifest: &Manifest, index: usize, last: usize) -> Option<String> {
    let name = &manifest.name;
    if manifest.protocol != Protocol::Singer {
        return Some(format!("{name} does not speak singer and cannot be piped: give it a step of its own"));
    }
    let wrong = match manifest.kind {
        PluginType::Extractor if index == 0 => return None,
        PluginType::Loader if index == last => return None,
        PluginType::Mapper if index > 0 && index < last => return None,
        PluginType::Extractor => "is an extractor and starts a pipe",
        PluginType::Loader => "is a loader and ends a pipe",
        PluginType::Mapper => "is a mapper and stands between an extractor and a loader",
        PluginType::Transformer | PluginType::Processor | PluginType::Service => {
            "cannot be piped: give it a step of its own"
        }
    };
    Some(format!("{name} {wrong}"))
}

fn check_configs(
    definition: &Definition,
    step: &Step,
    n: usize,
    plugins: &BTreeMap<Name, Manifest>,
    problems: &mut Problems,
) {
    let parameters: Vec<&str> = definition.parameters.keys().map(String::as_str).collect();
    for (i, program) in step.pipe.iter().enumerate() {
        let path = program_path(step, n, i);
        let before = problems.0.len();
        for (key, value) in [("config", &program.config), ("parameters", &program.parameters)] {
            check_template(value, &format!("{path}.{key}"), &parameters, &mut |field, message| {
                problems.add(field, message)
            });
        }
        if let Some(manifest) = plugins.get(&program.plugin) {
            problems.0.extend(secret_problems(manifest, &program.config, &program.parameters, &path).0);
        }
        let templated = program.config.to_string().contains("${");
        if let (false, true, Some(manifest)) =
            (templated, problems.0.len() == before, plugins.get(&program.plugin))
        {
            problems.0.extend(schema_problems(manifest, &program.config, &format!("{path}.config")).0);
        }
    }
}

/// What in a configuration does not fit its plugin's schema. Values are never repeated: they may be secret.
#[must_use]
pub fn schema_problems(manifest: &Manifest, config: &Value, path: &str) -> Problems {
    let mut problems = Problems::default();
    if let Ok(validator) = jsonschema::validator_for(&manifest.config_schema) {
        for error in validator.iter_errors(config) {
            let field = format!("{path}{}", error.instance_path().as_str().replace('/', "."));
            problems.add(
                field,
                format!("does not fit the config_schema of {}: {}", manifest.name, error.masked()),
            );
        }
    }
    problems
}

/// The parameters of an execution: those given, checked, with defaults for the others.
///
/// # Errors
/// Every unknown, missing or ill-typed parameter.
pub fn resolve_parameters(
    declared: &BTreeMap<String, Parameter>,
    given: &Map<String, Value>,
    today: jiff::civil::Date,
) -> Result<Map<String, Value>, Problems> {
    let mut problems = Problems::default();
    let known: Vec<&str> = declared.keys().map(String::as_str).collect();
    for name in given.keys().filter(|name| !declared.contains_key(*name)) {
        let hint = nearest(name, &known).map_or_else(String::new, |k| format!("; did you mean {k:?}?"));
        problems.add(format!("parameters.{name}"), format!("the pipeline has no parameter {name:?}{hint}"));
    }
    let mut resolved = Map::new();
    for (name, parameter) in declared {
        let value = match given.get(name) {
            Some(Value::String(text)) => parameter.kind.parse(text),
            Some(value) => Some(value.clone()).filter(|v| parameter.kind.accepts(v)),
            None => match &parameter.default {
                Value::Null => {
                    problems.add(format!("parameters.{name}"), "it has no default: give it a value");
                    continue;
                }
                Value::String(text) => parameter.kind.parse(&text.replace("${today}", &today.to_string())),
                default => Some(default.clone()),
            },
        };
        match value {
            Some(value) => drop(resolved.insert(name.clone(), value)),
            None => problems
                .add(format!("parameters.{name}"), format!("expected {}", parameter.kind.description())),
        }
    }
    problems.into_result(resolved)
}
