//! Values of answers as people read them: quantities, spans, cells. Never in here: writing them anywhere.

use jiff::Timestamp;
use serde_json::Value;

/// Control characters (a name or message may come from anywhere) become visible; a cell is one line.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A field of an answer as one cell: texts bare, nothing as an empty text, numbers and others as JSON.
#[must_use]
pub fn field(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A number with thousands set apart: `12,345`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for people: `4.1 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn bytes(number: u64) -> String {
    match number {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        n if n >= 1 << 20 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        n if n >= 1 << 10 => format!("{:.1} KiB", n as f64 / f64::from(1 << 10)),
        n => format!("{n} B"),
    }
}

/// A span for people: `0.4s`, `12.3s`, `2m05s`, `3h10m`.
#[must_use]
pub fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{}s", milliseconds % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long ago a time of the contract was: `5m12s`; empty when it is absent.
#[must_use]
pub fn age(time: &str, now: Timestamp) -> String {
    between(time, now).map(span).unwrap_or_default()
}

/// Milliseconds from a time of the contract to `end`.
#[must_use]
pub fn between(start: &str, end: Timestamp) -> Option<u64> {
    let start: Timestamp = start.parse().ok()?;
    u64::try_from(end.as_millisecond() - start.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!([bytes(12), bytes(4_300_000), bytes(3 << 30)], ["12 B", "4.1 MiB", "3.0 GiB"]);
        for (ms, text) in [
            (420, "0.4s"),
            (12_345, "12.3s"),
            (125_000, "2m05s"),
            (11_400_000, "3h10m"),
            (180_000_000, "2d02h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
