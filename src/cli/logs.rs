//! `executions logs`: what programs said, whole or followed as server-sent events. Never in here: the node's own log.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::args_resources::LogsArgs;
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::field;
use super::output::Terminal;
use super::sse::{self, Then};

/// How long the node may be away while its log is followed.
const AWAY: Duration = Duration::from_secs(120);

/// Prints the log of an execution; with `--follow` until it has ended.
///
/// # Errors
/// What the node refuses, or a node that stays away.
pub async fn logs(client: &Client, terminal: &mut Terminal, args: LogsArgs) -> Result<(), Failure> {
    let path = format!("/executions/{}/logs", escaped(&args.id));
    if !args.follow {
        let mut body = client.stream(&path, "text/plain").await?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::failed(format!("the log broke off: {error}")))?;
            if let Ok(bytes) = frame.into_data() {
                terminal.raw(&bytes)?;
            }
        }
        return Ok(());
    }
    let at = |line: u64| format!("{path}?follow=true&after={line}");
    sse::follow(client, terminal, 0, Some(AWAY), at, |terminal, message| {
        if message.event == "end" {
            return Ok(Then::End);
        }
        terminal.line(&text_of(&message.data))?;
        Ok(Then::GoOn)
    })
    .await
}

/// A line as the plain log has it: `<time> <step>/<plugin> <stream> <text>`.
fn text_of(data: &str) -> String {
    match serde_json::from_str::<Value>(data) {
        Ok(line) => format!(
            "{} {}/{} {} {}",
            field(&line, "/time"),
            field(&line, "/step"),
            field(&line, "/plugin"),
            field(&line, "/stream"),
            field(&line, "/text"),
        ),
        Err(_) => data.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_the_plain_log_has_them() {
        let data = r#"{"time":"T","step":"s","plugin":"p","stream":"stderr","text":"one é"}"#;
        assert_eq!(text_of(data), "T s/p stderr one é");
        assert_eq!(text_of("no json"), "no json");
    }
}
