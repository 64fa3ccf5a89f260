//! `apply`: files become plugins and pipelines. Everything is checked by the node before anything is done. Never in
//! here: what makes a definition valid; the node says that.

use std::collections::HashSet;

use flexcore_actors::domain::reader::nearest;
use http::Method;
use serde_json::Value;

use super::args::ApplyArgs;
use super::client::{Client, ClientError, escaped};
use super::difference::difference;
use super::failure::Failure;
use super::files::{Definition, read_definitions};
use super::human::{field, printable};
use super::output::{Terminal, tone_of};
use super::refusal::{FieldError, field_errors};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    // in this order: a pipeline names plugins
    Plugin,
    Pipeline,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Pipeline => "pipeline",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Plugin => "/plugins",
            Self::Pipeline => "/pipelines",
        }
    }
}

struct Item {
    kind: Kind,
    name: String,
    definition: Definition,
}

impl Item {
    fn path(&self) -> String {
        format!("{}/{}", self.kind.path(), escaped(&self.name))
    }

    fn value(&self) -> &Value {
        &self.definition.document.value
    }
}

/// Creates or revises everything in the files, plugins first.
///
/// # Errors
/// Every problem of every document with its place, before anything is done; or what the node refuses later.
pub async fn apply(client: &Client, terminal: &mut Terminal, args: ApplyArgs) -> Result<(), Failure> {
    let items = read_items(&args)?;
    let (actions, warnings) = check_all(client, &items).await?;
    for warning in warnings {
        terminal.note(&format!("warning: {warning}"));
    }
    for (item, action) in items.iter().zip(&actions) {
        if args.dry_run {
            show(terminal, item, &would(action))?;
            if action == "revise" {
                let current = current_definition(client, item).await?;
                for line in difference(&current, item.value()) {
                    terminal.line(&format!("    {line}"))?;
                }
            }
        } else {
            let done = carry_out(client, item, action).await?;
            show(terminal, item, done)?;
        }
    }
    Ok(())
}

fn read_items(args: &ApplyArgs) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for definition in read_definitions(&args.files)? {
        match identify(&definition) {
            Ok((kind, name)) if seen.insert((kind.word(), name.clone())) => {
                items.push(Item { kind, name, definition });
            }
            Ok((kind, name)) => {
                problems
                    .push(definition.problem("name", &format!("the {} {name:?} is here twice", kind.word())));
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    items.sort_by_key(|item| item.kind);
    Ok(items)
}

fn identify(definition: &Definition) -> Result<(Kind, String), String> {
    let value = &definition.document.value;
    let kind = match value["kind"].as_str() {
        Some("Plugin") => Kind::Plugin,
        Some("Pipeline") => Kind::Pipeline,
        Some(other) => {
            let hint = nearest(other, &["Plugin", "Pipeline"]);
            let hint = hint.map_or_else(String::new, |kind| format!("; did you mean {kind}?"));
            return Err(definition.problem("kind", &format!("{other:?} is not Plugin or Pipeline{hint}")));
        }
        None => return Err(definition.problem("kind", "kind is required: Plugin or Pipeline")),
    };
    let name = value["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| definition.problem("name", "name is required"))?;
    Ok((kind, name.to_owned()))
}

/// What the node would do with each item, and what it warns of; nothing is done unless all are valid.
async fn check_all(client: &Client, items: &[Item]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut actions, mut warnings) = (Vec::new(), Vec::new());
    let mut problems = Vec::new();
    let mut new_plugins = HashSet::new();
    for item in items {
        let path = format!("{}?dry_run=true", item.kind.path());
        let action = match client.send(Method::POST, &path, Some(item.value())).await {
            Ok(answer) => {
                warnings.extend(located(&item.definition, field_errors(&answer["warnings"])));
                field(&answer, "/action")
            }
            Err(ClientError::Refused(refusal)) if refusal.status == 422 && !refusal.errors.is_empty() => {
                let new = refusal.errors.into_iter().filter(|error| !names_new(item, error, &new_plugins));
                let wrong = located(&item.definition, new.collect());
                let action = if wrong.is_empty() { exists(client, item).await? } else { "create" };
                problems.extend(wrong);
                action.to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        if item.kind == Kind::Plugin && action == "create" {
            new_plugins.insert(item.name.as_str());
        }
        actions.push(action);
    }
    if problems.is_empty() { Ok((actions, warnings)) } else { Err(invalid(problems)) }
}

/// Whether the problem is only that a plugin is not there yet, which these very files create.
fn names_new(item: &Item, error: &FieldError, new_plugins: &HashSet<&str>) -> bool {
    let pointer = format!("/{}", error.field.replace('[', "/").replace(']', "").replace('.', "/"));
    item.kind == Kind::Pipeline
        && (error.field.ends_with(".plugin"))
        && item
            .value()
            .pointer(&pointer)
            .and_then(Value::as_str)
            .is_some_and(|name| new_plugins.contains(name))
}

async fn exists(client: &Client, item: &Item) -> Result<&'static str, Failure> {
    match client.get(&item.path()).await {
        Ok(_) => Ok("revise"),
        Err(error) if error.is_not_found() => Ok("create"),
        Err(error) => Err(error.into()),
    }
}

async fn carry_out(client: &Client, item: &Item, action: &str) -> Result<&'static str, Failure> {
    let done = match action {
        "create" => {
            accepted(item, client.send(Method::POST, item.kind.path(), Some(item.value())).await)?;
            "created"
        }
        "unchanged" => "unchanged",
        _ => {
            accepted(item, client.send(Method::PUT, &item.path(), Some(item.value())).await)?;
            "revised"
        }
    };
    // also when it was created earlier: an apply that was cut short is finished by repeating it
    let status = field(&client.get(&item.path()).await?, "/status");
    let next = match (item.kind, status.as_str()) {
        (Kind::Plugin, "registered") => Some("enable"),
        (Kind::Pipeline, "draft") => Some("activate"),
        _ => None,
    };
    if let Some(next) = next {
        client.send(Method::POST, &format!("{}/{next}", item.path()), None).await?;
    }
    Ok(done)
}

/// A refusal of the definition itself is shown where the definition says it.
fn accepted(item: &Item, answer: Result<Value, ClientError>) -> Result<(), Failure> {
    match answer {
        Ok(_) => Ok(()),
        Err(ClientError::Refused(refusal)) if !refusal.errors.is_empty() => {
            Err(invalid(located(&item.definition, refusal.errors)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Problems as lines, in the order of the file.
fn located(definition: &Definition, mut errors: Vec<FieldError>) -> Vec<String> {
    errors.sort_by_key(|error| definition.document.position(&error.field));
    errors.iter().map(|error| definition.problem(&error.field, &printable(&error.message))).collect()
}

async fn current_definition(client: &Client, item: &Item) -> Result<Value, Failure> {
    match item.kind {
        Kind::Plugin => Ok(client.get(&item.path()).await?["manifest"].take()),
        Kind::Pipeline => {
            let mut revisions = client.get(&format!("{}/revisions", item.path())).await?;
            let last = revisions["items"].as_array_mut().and_then(Vec::pop);
            Ok(last.map_or(Value::Null, |mut revision| revision["definition"].take()))
        }
    }
}

fn invalid(mut problems: Vec<String>) -> Failure {
    let many =
        if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) };
    problems.dedup();
    Failure::usage(format!("{many}, nothing was applied")).details(problems)
}

fn would(action: &str) -> String {
    match action {
        "unchanged" => "unchanged".to_owned(),
        action => format!("would {action}"),
    }
}

fn show(terminal: &mut Terminal, item: &Item, done: &str) -> Result<(), Failure> {
    let done = terminal.tinted(done, tone_of(done));
    terminal.line(&format!("{:<8} {:<32} {done}", item.kind.word(), printable(&item.name)))
}
