//! Quantities as people write them: `512MiB`, `30m`. Parsed once at the edge of the domain, kept as numbers.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_DURATION;

/// A number of bytes, written `64MiB`, `1GiB`, `500kB` or plain `4096`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl fmt::Display for Bytes {
    /// In the largest binary unit that divides it: what [`parse_bytes`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// Writes a duration so that [`parse_duration`] reads the same back (to the millisecond).
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms > 0 && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

/// Sizes as text in serialised forms, as in files.
pub(crate) mod bytes_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Bytes, parse_bytes};

    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        parse_bytes(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Durations as text in serialised forms, as in files.
pub(crate) mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{format_duration, parse_duration};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Optional durations as text in serialised forms, as in files; `None` is left out by the field's own attribute.
pub(crate) mod optional_duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{format_duration, parse_duration};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration.map(format_duration).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| parse_duration(&t)).transpose().map_err(D::Error::custom)
    }
}

/// Reads a size: an integer with an optional unit B, kB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024).
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse_bytes(text: &str) -> Result<Bytes, String> {
    let bad = || {
        format!(
            "{text:?} is not a size: write a whole number with B, KiB, MiB, GiB, kB, MB or GB, such as 512MiB"
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).map(Bytes).ok_or_else(bad)
}

/// Reads a duration: one or more of `<number><unit>` with units ms, s, m, h, d, such as `1m30s`; a decimal
/// fraction is accepted (`0.5s`). In whole milliseconds, because that is how [`format_duration`] keeps it in events:
/// what is finer is rounded, and refused where nothing would be left. At most [`MAX_DURATION`].
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!(
            "{text:?} is not a duration: write a number with ms, s, m, h or d, such as 30s or 1h30m, at most 366d"
        )
    };
    let mut rest = text;
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number: f64 = rest[..number_len].parse().map_err(|_| bad())?;
        rest = &rest[number_len..];
        let unit_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..unit_len] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(bad()),
        };
        rest = &rest[unit_len..];
        total += number * unit;
    }
    if total > MAX_DURATION.as_secs_f64() {
        return Err(bad());
    }
    let rounded = Duration::from_millis((total * 1_000.0).round() as u64);
    if rounded.is_zero() && total > 0.0 { Err(bad()) } else { Ok(rounded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("1KiB", 1024), ("512MiB", 512 << 20), ("2GB", 2_000_000_000)]
        {
            assert_eq!(parse_bytes(text).unwrap(), Bytes(bytes), "{text}");
        }
        for bad in ["", "MiB", "1.5GiB", "-1", "1XiB", "99999999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in
            [("250ms", 250), ("1s", 1_000), ("0.5s", 500), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "1", "s", "1 s", "-1s", "1x", "10000d", "1..2s", "NaNs", "1e5s", "0.4ms", "1sé"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration(&format!("{}d", "9".repeat(400))).is_err());
    }

    #[test]
    fn durations_read_back_as_written() {
        for text in ["0s", "1ms", "1.5ms", "0.1s", "1.0005s", "365d0.001s", "1h0.1s", "90m", "2d", "366d"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration, "{text}");
        }
    }

    #[test]
    fn sizes_read_back_as_written() {
        for n in [0, 1, 1023, 1024, 1025, 1 << 20, (1 << 20) + 1, 3 << 30, u64::MAX] {
            assert_eq!(parse_bytes(&Bytes(n).to_string()).unwrap(), Bytes(n));
        }
    }
}
