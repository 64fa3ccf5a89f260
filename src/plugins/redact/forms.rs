//! The forms in which a secret shows up in what programs print: as it is, line by line, lossily decoded, escaped for JSON,
//! URL-encoded, and in base64 at any offset of what surrounds it. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::super::limits::REDACT_MIN_CHARS;

/// All forms of a value that are long enough to be told from common words.
pub(super) fn forms(value: &[u8]) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let text = String::from_utf8_lossy(value);
    for line in std::iter::once(&*text).chain(text.lines()).map(str::trim) {
        add_text(&mut forms, line);
    }
    for bytes in [value, value.trim_ascii()] {
        add_base64(&mut forms, bytes);
        add_url_encoded(&mut forms, bytes);
    }
    forms.insert(text.into_owned());
    forms.retain(|form| {
        form.chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).count() >= REDACT_MIN_CHARS
    });
    forms
}

fn add_text(forms: &mut BTreeSet<String>, text: &str) {
    forms.insert(text.to_owned());
    let escaped = serde_json::Value::from(text).to_string();
    let escaped = escaped[1..escaped.len() - 1].to_owned();
    let mut ascii = String::with_capacity(escaped.len());
    for unit in escaped.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
            _ => write!(ascii, "\\u{unit:04x}").expect("a text takes everything"),
        }
    }
    forms.extend([escaped, ascii]);
}

/// Whole, and the letters that do not depend on what stands before or after it.
fn add_base64(forms: &mut BTreeSet<String>, bytes: &[u8]) {
    for (engine, at) in [&STANDARD, &URL_SAFE].into_iter().flat_map(|e| [0, 1, 2].map(|at| (e, at))) {
        let shifted = [&[0; 2][..at], bytes].concat();
        let encoded = engine.encode(&shifted);
        if at == 0 {
            forms.extend([encoded.clone(), encoded.trim_end_matches('=').to_owned()]);
        }
        let (first, end) = ((at * 8).div_ceil(6), shifted.len() * 8 / 6);
        forms.extend(encoded.get(first..end).map(str::to_owned));
    }
}

fn add_url_encoded(forms: &mut BTreeSet<String>, bytes: &[u8]) {
    for slash_is_safe in [false, true] {
        let (mut upper, mut lower) = (String::new(), String::new());
        for &byte in bytes {
            let plain =
                byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slash_is_safe && byte == b'/');
            if plain {
                upper.push(char::from(byte));
                lower.push(char::from(byte));
            } else {
                write!(upper, "%{byte:02X}").expect("a text takes everything");
                write!(lower, "%{byte:02x}").expect("a text takes everything");
            }
        }
        forms.extend([upper.replace("%20", "+"), lower.replace("%20", "+"), upper, lower]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &[u8], form: &str) -> bool {
        forms(value).contains(form)
    }

    #[test]
    fn a_secret_is_known_in_each_form() {
        let value = "pä ss/w+\"rd".as_bytes();
        for form in [
            "pä ss/w+\"rd",
            "pä ss/w+\\\"rd",
            "p\\u00e4 ss/w+\\\"rd",
            "p%C3%A4%20ss%2Fw%2B%22rd",
            "p%c3%a4%20ss%2fw%2b%22rd",
            "p%C3%A4+ss%2Fw%2B%22rd",
            "p%C3%A4%20ss/w%2B%22rd",
            "cMOkIHNzL3crInJk",
        ] {
            assert!(has(value, form), "{form} is not in {:#?}", forms(value));
        }
    }

    /// `user:password` in a header, with a password at each of the three offsets, and something after it.
    #[test]
    fn base64_is_known_wherever_it_begins() {
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "!", "!?", "!?."] {
                let whole = STANDARD.encode(format!("{before}hunter2-hunter2{after}"));
                let known =
                    forms(b"hunter2-hunter2").into_iter().filter(|form| whole.contains(form.as_str()));
                let longest = known.map(|form| form.len()).max().unwrap_or_default();
                assert!(longest >= 18, "{whole}: {longest}");
            }
        }
    }

    #[test]
    fn lines_are_known_and_short_ones_left_out() {
        let value = b"-----BEGIN KEY-----\nMC4CAQ\nab\n-----END KEY-----\n";
        assert!(has(value, "MC4CAQ") && has(value, "-----END KEY-----") && !has(value, "ab"));
        assert!(forms(&[0xff; 8]).iter().all(|form| !form.contains(char::REPLACEMENT_CHARACTER)));
        assert!(has(&[0xff; 8], "//////////8="));
    }
}
