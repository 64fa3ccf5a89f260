//! Placeholders: what they become, and which are reported.

use jiff::civil::date;

use super::*;
use crate::domain::secret::{Part, SecretName, SecretPlace};

fn filled(template: &Value) -> Value {
    let parameters = json!({"n": 3, "text": "a b", "flag": true, "sly": "${today}"});
    let parameters = parameters.as_object().unwrap();
    fill(template, Values { parameters, execution: execution(1), today: date(2026, 1, 31) })
}

#[test]
fn a_text_that_is_one_placeholder_takes_the_value_with_its_type() {
    assert_eq!(filled(&json!("${param.n}")), json!(3));
    assert_eq!(filled(&json!("${param.flag}")), json!(true));
    assert_eq!(filled(&json!("${param.text}")), json!("a b"));
    assert_eq!(filled(&json!("${today}")), json!("2026-01-31"));
    assert_eq!(filled(&json!("${execution.id}")), json!(execution(1).to_string()));
}

#[test]
fn within_a_longer_text_values_are_written_out() {
    assert_eq!(filled(&json!("${param.n}${param.flag} ${param.text}!")), json!("3true a b!"));
    assert_eq!(filled(&json!("é${today}é")), json!("é2026-01-31é"));
}

#[test]
fn placeholders_are_filled_wherever_they_stand() {
    let template =
        json!({"files": [{"path": "/in/${today}.csv"}, 7, null], "deep": {"er": ["${param.n}"]}, "x": 1.5});
    let expected = json!({"files": [{"path": "/in/2026-01-31.csv"}, 7, null], "deep": {"er": [3]}, "x": 1.5});
    assert_eq!(filled(&template), expected);
}

#[test]
fn a_value_is_never_filled_again() {
    assert_eq!(filled(&json!("${param.sly}")), json!("${today}"));
    assert_eq!(filled(&json!("x${param.sly}")), json!("x${today}"));
}

#[test]
fn what_is_not_known_or_not_closed_stays_as_it_is() {
    for text in ["${param.other}", "a ${b} c", "${today", "a ${", "$today", "{today}", "${}", "${${today}}"] {
        assert_eq!(filled(&json!(text)), json!(text), "{text}");
    }
}

fn problems(template: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    check_template(template, "config", &["day", "n"], &mut |field, message| found.push((field, message)));
    found
}

#[test]
fn known_placeholders_are_no_problem() {
    for text in [
        "${secret.KEY}",
        "${param.day}",
        "x${param.n}-${today}-${execution.id}",
        "$",
        "{}",
        "$}{",
        "100 $ {today}",
    ] {
        assert_eq!(problems(&json!(text)), [], "{text}");
    }
}

#[test]
fn every_other_placeholder_is_reported_with_its_place_and_cure() {
    let template = json!({"a": ["${param.dya}", "${param.zzzzzz}"], "b": {"c": "${env.HOME} ${secret.A-B}"}, "d": "x ${today"});
    let expected = [
        ("config.a[0]", r#"unknown parameter "dya": did you mean "day"?"#),
        ("config.a[1]", r#"unknown parameter "zzzzzz": declare it under parameters"#),
        (
            "config.b.c",
            "unknown placeholder ${env.HOME}: use ${param.<name>}, ${execution.id}, ${today} or ${secret.<NAME>}",
        ),
        (
            "config.b.c",
            "\"A-B\" is not the name of a secret: use 1 to 128 letters, digits and '_', not beginning with a digit, such as ORACLE_PASSWORD",
        ),
        ("config.d", r#""${today" is a placeholder without an end: close it with }"#),
    ];
    assert_eq!(problems(&template), expected.map(|(field, message)| (field.to_owned(), message.to_owned())));
}

#[test]
fn what_passes_the_check_is_filled_completely() {
    for text in ["${param.n}", "a${today}b${execution.id}c"] {
        assert_eq!(problems(&json!(text)), []);
        assert!(!filled(&json!(text)).to_string().contains("${"), "{text}");
    }
}

fn places(template: &Value) -> Vec<SecretPlace> {
    let parameters = json!({"n": 3, "sly": "${secret.KEY}"});
    let parameters = parameters.as_object().unwrap();
    secret_places(template, Some(Values { parameters, execution: execution(1), today: date(2026, 1, 31) }))
}

#[test]
fn secrets_are_found_and_never_filled() {
    let template =
        json!({"a/b": ["x", {"~": "u:${secret.KEY}@${param.n}/${secret.B}"}], "plain": "${today}"});
    let part = |text: &str| Part::Text(text.to_owned());
    let secret = |name: &str| Part::Secret(SecretName::new(name).unwrap());
    let expected = SecretPlace {
        field: "a/b[1].~".to_owned(),
        pointer: "/a~1b/1/~0".to_owned(),
        parts: vec![part("u:"), secret("KEY"), part("@3/"), secret("B")],
    };
    assert_eq!(places(&template), [expected]);
    assert_eq!(filled(&json!("${secret.KEY} ${today}")), json!("${secret.KEY} 2026-01-31"));
}

/// Who may start a pipeline may not thereby read a secret that the plugin is granted.
#[test]
fn what_a_parameter_holds_is_no_reference() {
    assert_eq!(places(&json!(["${param.sly}", "x${param.sly}", "${secret.not-a-name}", "${secret.KEY"])), []);
    let [place] = &places(&json!("${param.sly}${secret.KEY}"))[..] else { panic!("one place") };
    let key = SecretName::new("KEY").unwrap();
    assert_eq!(place.parts, [Part::Text("${secret.KEY}".to_owned()), Part::Secret(key)]);
}
