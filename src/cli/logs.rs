//! `executions logs`: what programs said, whole or followed as server-sent events. Never in here: the node's own log.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::Instant;

use super::args_resources::LogsArgs;
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::field;
use super::output::Terminal;

/// The pause before a lost stream is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// How long the node may be away while its log is followed.
const AWAY: Duration = Duration::from_secs(120);
/// Longest event of the stream, bytes; a line of a log is far shorter.
const MAX_EVENT: usize = 16 << 20;

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
    let mut events = Events::default();
    let mut away_since: Option<Instant> = None;
    loop {
        match client
            .stream(&format!("{path}?follow=true&after={}", events.last_id), "text/event-stream")
            .await
        {
            Ok(response) => {
                away_since = None;
                let mut body = response.into_body();
                // an error is a connection that was lost: the stream is opened again below
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if events.feed(&bytes, terminal)? {
                        return Ok(());
                    }
                }
            }
            Err(error) if error.is_transient() => {
                let since = *away_since.get_or_insert_with(|| {
                    terminal.note("the node is away, waiting");
                    Instant::now()
                });
                if since.elapsed() > AWAY {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        events.restart();
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// Server-sent events as they come, in pieces that end anywhere.
#[derive(Debug, Default)]
struct Events {
    buffer: Vec<u8>,
    data: String,
    is_end: bool,
    /// The number of the last line, to go on from.
    last_id: u64,
}

impl Events {
    /// Prints what is complete; true when the log has ended.
    fn feed(&mut self, bytes: &Bytes, terminal: &mut Terminal) -> Result<bool, Failure> {
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if self.line(line.trim_end_matches(['\n', '\r']), terminal)? {
                return Ok(true);
            }
        }
        if self.buffer.len() > MAX_EVENT {
            return Err(Failure::failed(format!("the node sends a line of more than {MAX_EVENT} bytes")));
        }
        Ok(false)
    }

    fn line(&mut self, line: &str, terminal: &mut Terminal) -> Result<bool, Failure> {
        if line.is_empty() {
            if self.is_end {
                return Ok(true);
            }
            if !self.data.is_empty() {
                terminal.line(&text_of(&std::mem::take(&mut self.data)))?;
            }
        } else if let Some(id) = line.strip_prefix("id:") {
            self.last_id = id.trim().parse().unwrap_or(self.last_id);
        } else if let Some(data) = line.strip_prefix("data:") {
            // several lines of the log may come under one id
            if !self.data.is_empty() {
                terminal.line(&text_of(&std::mem::take(&mut self.data)))?;
            }
            data.trim_start().clone_into(&mut self.data);
        } else if let Some(kind) = line.strip_prefix("event:") {
            self.is_end = kind.trim() == "end";
        }
        Ok(false)
    }

    /// Forgets a half event before the stream is opened again.
    fn restart(&mut self) {
        self.buffer.clear();
        self.data.clear();
        self.is_end = false;
    }
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
    use super::super::testing::captured;
    use super::*;

    #[test]
    fn events_are_understood_wherever_they_are_cut() {
        let text = concat!(
            ": alive\n\nid: 1\ndata: {\"time\":\"T\",\"step\":\"s\",\"plugin\":\"p\",\"stream\":\"stderr\",\"text\":\"one\"}\n\n",
            "id: 2\ndata: {\"time\":\"T\",\"step\":\"s\",\"plugin\":\"p\",\"stream\":\"stderr\",\"text\":\"two é\"}\n\n",
            "event: end\ndata: {\"status\":\"completed\"}\n\n",
        );
        for size in [1, 7, 1_000] {
            let (mut terminal, output) = captured();
            let mut events = Events::default();
            let ended: Vec<bool> = text
                .as_bytes()
                .chunks(size)
                .map(|piece| events.feed(&Bytes::copy_from_slice(piece), &mut terminal).unwrap())
                .collect();
            assert_eq!(ended.iter().filter(|e| **e).count(), 1);
            assert_eq!(output.out(), "T s/p stderr one\nT s/p stderr two é\n", "pieces of {size}");
            assert_eq!(events.last_id, 2);
        }
    }
}
