//! `${…}` in configurations, above all `${secret.NAME}`.

use std::collections::BTreeMap;

use flexcore_actors::domain::ids::ExecutionId;
use flexcore_actors::domain::pipeline::{Values, check_template, fill, secret_places};
use flexcore_actors::domain::secret::{Part, SecretPlace, SecretValue, place_secrets};
use serde_json::{Map, Value, json};

/// A configuration as JSON, or any text as one. A secret is found in its place whatever stands around it, a text that
/// names none is never touched, and what a parameter or a secret holds is never read as a reference.
pub fn secret_references(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let template = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let places = secret_places(&template, None);
    for place in &places {
        let original = template.pointer(&place.pointer).and_then(Value::as_str);
        assert_eq!(Some(written(place).as_str()), original, "the parts are not the text");
    }
    let mut problems = 0;
    check_template(&template, "config", &["p", "hostile"], &mut |_, _| problems += 1);
    let parameters =
        Map::from_iter([("p".to_owned(), json!(1)), ("hostile".to_owned(), json!("${secret.STOLEN}"))]);
    let execution = ExecutionId(uuid::Uuid::from_u128(7));
    let values = Values { parameters: &parameters, execution, today: jiff::civil::date(2026, 1, 2) };
    let filled_places = secret_places(&template, Some(values));
    assert_eq!(names(&places), names(&filled_places), "a parameter became a reference");
    // a value that looks like a reference is written as it is
    let value = || SecretValue::new(b"${secret.OTHER}".to_vec()).expect("it is long enough");
    let secrets: BTreeMap<_, _> =
        places.iter().flat_map(SecretPlace::names).map(|name| (name.clone(), value())).collect();
    let mut config = fill(&template, values);
    place_secrets(&mut config, &filled_places, &secrets).expect("every secret has a value");
    for place in &filled_places {
        let text: String = place.parts.iter().map(|part| shown(part, "${secret.OTHER}")).collect();
        assert_eq!(config.pointer(&place.pointer).and_then(Value::as_str), Some(text.as_str()));
    }
    if problems == 0 {
        let mut kept = template.clone();
        place_secrets(&mut kept, &places, &secrets).expect("every secret has a value");
        assert_eq!(names(&secret_places(&kept, None)).iter().filter(|name| **name != "OTHER").count(), 0);
    }
    problems == 0
}

fn names(places: &[SecretPlace]) -> Vec<&str> {
    places.iter().flat_map(SecretPlace::names).map(|name| name.as_str()).collect()
}

fn written(place: &SecretPlace) -> String {
    let part = |part: &Part| match part {
        Part::Secret(name) => shown(part, &format!("${{secret.{name}}}")),
        Part::Text(_) => shown(part, ""),
    };
    place.parts.iter().map(part).collect()
}

fn shown(part: &Part, secret: &str) -> String {
    match part {
        Part::Text(text) => text.clone(),
        Part::Secret(_) => secret.to_owned(),
    }
}
