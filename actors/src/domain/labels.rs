//! Labels: what an operator says of a node (`node.labels`), and what a plugin asks of the node that runs it
//! (`node_selector`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::reader::Object;
use crate::limits::{MAX_LABEL_LEN, MAX_LABELS};

/// Labels of a node, or those that a node must have.
pub type Labels = BTreeMap<String, String>;

/// Reads a map of labels under a key; absent is empty.
pub fn read_labels(object: &mut Object<'_>, key: &'static str) -> Labels {
    let Some(value) = object.value(key) else { return Labels::new() };
    let Some(map) = value.as_object() else {
        object.problem(key, "expected labels such as {zone: dmz}");
        return Labels::new();
    };
    if map.len() > MAX_LABELS {
        object.problem(key, format!("{} labels: at most {MAX_LABELS}", map.len()));
    }
    let mut labels = Labels::new();
    for (name, value) in map {
        match value {
            Value::String(text) if is_label(name) && is_label(text) => {
                labels.insert(name.clone(), text.clone());
            }
            _ => object.problem(
                key,
                format!("{name:?}: a label and its value are texts of 1 to {MAX_LABEL_LEN} letters, digits, '.', '_', '-' and '/'"),
            ),
        }
    }
    labels
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL_LEN).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'))
}

/// Whether a node with these labels has all that are asked for.
#[must_use]
pub fn has_all(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// What several ask for together; the first label for which they ask different values, when there is one.
pub fn together<'a>(wanted: impl IntoIterator<Item = &'a Labels>) -> Result<Labels, String> {
    let mut all = Labels::new();
    for (name, value) in wanted.into_iter().flatten() {
        if all.insert(name.clone(), value.clone()).is_some_and(|other| other != *value) {
            return Err(name.clone());
        }
    }
    Ok(all)
}

/// Labels as people write them: `zone=dmz, gpu=yes`.
#[must_use]
pub fn text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use serde_json::json;

    use super::*;
    use crate::domain::problem::Problems;

    fn read(value: &Value) -> (Labels, Problems) {
        let problems = Rc::new(RefCell::new(Problems::default()));
        let mut object = Object::open(value, "", &problems);
        let labels = read_labels(&mut object, "labels");
        (labels, problems.take())
    }

    fn labels(value: Value) -> Labels {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn labels_are_short_plain_texts() {
        let (read_labels, problems) =
            read(&json!({"labels": {"zone": "dmz", "kubernetes.io/arch": "arm64"}}));
        assert_eq!(
            (text(&read_labels).as_str(), problems.0.len()),
            ("kubernetes.io/arch=arm64, zone=dmz", 0)
        );
        let long = "x".repeat(MAX_LABEL_LEN + 1);
        for wrong in
            [json!({"a b": "c"}), json!({"a": ""}), json!({"a": 1}), json!({"a": long}), json!(["a"])]
        {
            let (_, problems) = read(&json!({"labels": wrong}));
            assert_eq!(
                problems.0.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(),
                ["labels"],
                "{wrong}"
            );
        }
        let many: Labels = (0..=MAX_LABELS).map(|n| (format!("l{n}"), "x".to_owned())).collect();
        assert_eq!(read(&json!({"labels": many})).1.0.len(), 1);
    }

    #[test]
    fn a_node_must_have_all_that_is_asked_for() {
        let node = labels(json!({"zone": "dmz", "gpu": "yes"}));
        assert!(has_all(&node, &labels(json!({}))) && has_all(&node, &labels(json!({"zone": "dmz"}))));
        assert!(
            !has_all(&node, &labels(json!({"zone": "lan"})))
                && !has_all(&node, &labels(json!({"disk": "ssd"})))
        );
    }

    #[test]
    fn programs_of_a_pipe_ask_together() {
        let (a, b, c) =
            (labels(json!({"zone": "dmz"})), labels(json!({"gpu": "yes"})), labels(json!({"zone": "lan"})));
        assert_eq!(together([&a, &b]), Ok(labels(json!({"zone": "dmz", "gpu": "yes"}))));
        assert_eq!(together([&a, &b, &c]), Err("zone".to_owned()));
    }
}
