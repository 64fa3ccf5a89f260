//! The program's own log: set up once, on standard error. Never in here: what is logged, and standard output,
//! which belongs to answers.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl LogFormat {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Whether `filter` is a log filter, such as `info` or `info,flexcore::http=debug`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| {
        format!("{filter:?} is not a log filter ({error}): write info, debug or info,flexcore::http=debug")
    })
}

/// Starts logging to standard error. Only the first call in a process has an effect.
///
/// # Errors
/// When `filter` is not a log filter; see [`check_filter`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    check_filter(filter)?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    // a second call fails because a subscriber is there already: the first one stays
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for good in ["info", "warn,flexcore::http=debug", "off"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        assert!(check_filter("flexcore=loud").unwrap_err().contains("not a log filter"));
    }
}
