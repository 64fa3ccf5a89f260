//! Reads a policy from the file format and reports everything that is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::super::capabilities::check_path;
use super::{Allowance, Bounds, HostPattern, Pattern, Policy, Rule};
use crate::domain::ids::Name;
use crate::domain::problem::Problems;
use crate::domain::reader::{Object, kind_of};
use crate::limits::{MAX_GRANTS, MAX_POLICY_RULES};

/// Reads a policy; `id` is the digest of its text, under which executions record it.
///
/// # Errors
/// Every problem at once, with its field.
pub fn read_policy(value: &Value, id: String) -> Result<Policy, Problems> {
    let problems = Rc::new(RefCell::new(Problems::default()));
    let mut object = Object::open(value, "", &problems);
    let list = object.list("rules");
    if object.value("rules").is_none() {
        object.problem("rules", "rules is required: a list; an empty one allows nothing");
    }
    let mut rules = Vec::new();
    if list.len() > MAX_POLICY_RULES {
        object.problem("rules", format!("{} are too many: at most {MAX_POLICY_RULES} rules", list.len()));
    } else {
        let mut names = BTreeSet::new();
        for (n, item) in list.iter().enumerate() {
            let mut rule = Object::open(item, format!("rules[{n}]"), &problems);
            let read = read_rule(&mut rule);
            if !read.name.is_empty() && !names.insert(read.name.clone()) {
                rule.problem("name", format!("{:?} is the name of another rule: choose another", read.name));
            }
            rule.finish();
            rules.push(read);
        }
    }
    object.finish();
    let problems = problems.take();
    problems.into_result(Policy::new(rules, id))
}

fn read_rule(rule: &mut Object<'_>) -> Rule {
    Rule {
        name: rule.name("name").as_ref().map(Name::to_string).unwrap_or_default(),
        plugins: match rule.value("plugins") {
            None => vec![Pattern::new("*")],
            Some(_) => patterns(rule, "plugins"),
        },
        allow: read_allowance(rule, "allow"),
        deny: read_allowance(rule, "deny"),
        limits: read_bounds(rule),
    }
}

fn read_allowance(rule: &mut Object<'_>, key: &'static str) -> Allowance {
    let Some(mut object) = rule.object(key) else { return Allowance::default() };
    let allowance = Allowance {
        read: checked(&mut object, "read", path),
        write: checked(&mut object, "write", path),
        connect: checked(&mut object, "connect", HostPattern::read),
        secrets: patterns(&mut object, "secrets"),
        env: patterns(&mut object, "env"),
        api: patterns(&mut object, "api"),
        subprocess: object.boolean("subprocess").unwrap_or_default(),
    };
    object.finish();
    allowance
}

fn read_bounds(rule: &mut Object<'_>) -> Bounds {
    let Some(mut object) = rule.object("limits") else { return Bounds::default() };
    let small = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    let bounds = Bounds {
        memory: object.bytes("memory"),
        cpus: object.number("cpus"),
        processes: small(object.integer("processes", 1..=u64::from(u32::MAX))),
        open_files: small(object.integer("open_files", 1..=u64::from(u32::MAX))),
        scratch: object.bytes("scratch"),
    };
    if bounds.cpus.is_some_and(|cpus| cpus <= 0.0) {
        object.problem("cpus", "expected more than 0");
    }
    object.finish();
    bounds
}

/// `/` is what an operator may allow or deny, unlike a manifest.
fn path(text: &str) -> Result<String, String> {
    if text == "/" {
        return Ok(text.to_owned());
    }
    if text.starts_with('$') {
        return Err(format!("{text:?} needs no rule: a plugin's scratch directory is its own; remove it"));
    }
    check_path(text).map(|()| text.to_owned())
}

fn patterns(object: &mut Object<'_>, key: &'static str) -> Vec<Pattern> {
    checked(object, key, |text| match text {
        "" => Err("expected a name, in which * stands for any text".to_owned()),
        text => Ok(Pattern::new(text)),
    })
}

/// The entries of a list; each wrong one is a problem of its own.
fn checked<T>(
    object: &mut Object<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let list = object.list(key);
    if list.len() > MAX_GRANTS {
        object.problem(key, format!("{} entries are too many: at most {MAX_GRANTS}", list.len()));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(list.len());
    for (n, item) in list.iter().enumerate() {
        let entry =
            item.as_str().map_or_else(|| Err(format!("expected a text, found {}", kind_of(item))), &read);
        match entry {
            Ok(entry) => found.push(entry),
            Err(message) => object.problem(&format!("{key}[{n}]"), message),
        }
    }
    found
}
