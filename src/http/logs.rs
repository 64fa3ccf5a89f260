//! `GET /executions/{id}/logs`: what its programs said, as text, as JSON lines or followed as an event stream. Lines
//! are read page by page as the client takes them, so that a log of any length costs a few pages of memory.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use flexcore_actors::domain::ids::ExecutionId;
use flexcore_actors::ports::log_store::{LogLine, LogStream};
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::Instrument;
use warp::Reply;

use super::limits::{KEEP_ALIVE, LOG_BUFFER, LOG_PAGE, LOG_POLL};
use super::problem::Problem;
use super::reply::{Answer, Ctx, execution_in_path};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `<time> <step>/<plugin> <stream> <text>`
    Text,
    /// One JSON object a line.
    Lines,
    /// Server-sent events with a JSON object each, whose id is the line number to go on from.
    Events,
}

/// Answers with the log; with `follow=true` until the execution has ended.
pub(super) async fn read(id: String, ctx: Ctx) -> Answer {
    let id = execution_in_path(&id)?;
    let follow = ctx.call.query.flag("follow")?;
    let after = begin(&ctx)?;
    ctx.api.execution(id).await?;
    let format = match (ctx.call.asks_for("application/x-ndjson"), follow) {
        (true, _) => Format::Lines,
        (false, true) => Format::Events,
        (false, false) => Format::Text,
    };
    let (sender, mut receiver) = mpsc::channel(LOG_BUFFER);
    tokio::spawn(Reader { ctx, id, format, follow, after, sender }.run().in_current_span());
    let mut response = warp::reply::stream(stream::poll_fn(move |cx| receiver.poll_recv(cx))).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The line to go on from: `after`, or what a reconnecting event source saw last.
fn begin(ctx: &Ctx) -> Result<u64, Problem> {
    let seen = ctx.call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    Ok(ctx.call.query.number("after")?.or(seen).unwrap_or_default())
}

/// Feeds one answer; ends with the log, with the client or with the node.
struct Reader {
    ctx: Ctx,
    id: ExecutionId,
    format: Format,
    follow: bool,
    after: u64,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Reader {
    async fn run(mut self) {
        let shutdown = self.ctx.call.shutdown.clone();
        let sender = self.sender.clone();
        tokio::select! {
            result = self.feed() => {
                if let Err(problem) = result {
                    // broken off rather than ended, so that a client does not take the part for the whole
                    let broken = io::Error::other(format!("cannot read the log: {problem:?}"));
                    drop(sender.send(Err(broken)).await);
                }
            }
            () = sender.closed() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn feed(&mut self) -> Result<(), Problem> {
        let mut ended = None;
        let mut alive = Instant::now();
        loop {
            let (lines, next) = self.ctx.api.logs(self.id, self.after, LOG_PAGE).await?;
            if !lines.is_empty() && next > self.after {
                self.send(self.format.render(&lines, self.after, next)).await;
                self.after = next;
                alive = Instant::now();
                continue;
            }
            if !self.follow {
                return Ok(());
            }
            // only after the end is known does an empty page mean that nothing more comes
            if let Some(status) = ended {
                self.send(self.format.end(status)).await;
                return Ok(());
            }
            let view = self.ctx.api.execution(self.id).await?;
            if view.ended_at.is_some() {
                ended = Some(view.status);
                continue;
            }
            alive = self.keep_alive(alive, KEEP_ALIVE).await;
            sleep(LOG_POLL).await;
        }
    }

    async fn keep_alive(&self, since: Instant, interval: Duration) -> Instant {
        if self.format != Format::Events || since.elapsed() < interval {
            return since;
        }
        self.send(": alive\n\n".to_owned()).await;
        Instant::now()
    }

    /// A client that is gone is noticed by [`Reader::run`].
    async fn send(&self, text: String) {
        if !text.is_empty() {
            drop(self.sender.send(Ok(Bytes::from(text))).await);
        }
    }
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// The lines `after + 1` to `next`. Where a log lost lines to its cap the numbers between are unknown: then only
    /// the last one is told.
    fn render(self, lines: &[LogLine], after: u64, next: u64) -> String {
        let dense = next - after == lines.len() as u64;
        let mut out = String::new();
        for (line, number) in lines.iter().zip(after + 1..) {
            match self {
                Self::Text => out.push_str(&text(line)),
                Self::Lines => out.push_str(&object(line)),
                Self::Events if dense => out.push_str(&format!("id: {number}\ndata: {}\n", object(line))),
                Self::Events => out.push_str(&format!("data: {}\n", object(line))),
            }
            out.push('\n');
        }
        if self == Self::Events && !dense {
            out.truncate(out.len() - 1);
            out.push_str(&format!("id: {next}\n\n"));
        }
        out
    }

    fn end(self, status: &str) -> String {
        match self {
            Self::Events => format!("event: end\ndata: {}\n\n", json!({"status": status})),
            Self::Text | Self::Lines => String::new(),
        }
    }
}

fn object(line: &LogLine) -> String {
    serde_json::to_string(line).expect("texts always serialise")
}

fn text(line: &LogLine) -> String {
    let stream = match line.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Flexcore => "flexcore",
    };
    format!("{} {}/{} {stream} {}", line.time, line.step, line.plugin, line.text)
}

#[cfg(test)]
mod tests {
    use flexcore_actors::domain::ids::Name;
    use jiff::Timestamp;

    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            time: Timestamp::UNIX_EPOCH,
            step: Name::new("load").unwrap(),
            plugin: Name::new("tap-csv").unwrap(),
            stream: LogStream::Stderr,
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_are_written_in_three_ways() {
        let lines = [line("a"), line("b \"c\"")];
        assert_eq!(
            Format::Text.render(&lines, 0, 2),
            "1970-01-01T00:00:00Z load/tap-csv stderr a\n1970-01-01T00:00:00Z load/tap-csv stderr b \"c\"\n"
        );
        let first = r#"{"time":"1970-01-01T00:00:00Z","step":"load","plugin":"tap-csv","stream":"stderr","text":"a"}"#;
        assert_eq!(Format::Lines.render(&lines, 0, 2).lines().next().unwrap(), first);
        let events = Format::Events.render(&lines, 4, 6);
        assert!(events.starts_with(&format!("id: 5\ndata: {first}\n\nid: 6\ndata: ")), "{events}");
        assert!(events.ends_with("\n\n"));
    }

    #[test]
    fn where_numbers_are_unknown_the_last_one_is_told() {
        let events = Format::Events.render(&[line("a"), line("b")], 4, 9);
        assert_eq!(events.matches("id: ").count(), 1);
        assert!(events.ends_with("\nid: 9\n\n"), "{events}");
        assert_eq!(events.matches("\n\n").count(), 2);
    }

    #[test]
    fn only_event_streams_say_that_they_end() {
        assert_eq!(Format::Events.end("failed"), "event: end\ndata: {\"status\":\"failed\"}\n\n");
        assert_eq!(Format::Text.end("failed"), "");
    }
}
