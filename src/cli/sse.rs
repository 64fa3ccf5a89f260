//! Server-sent events: taken apart as they come, and read again from where they broke off. Never in here: what an event
//! means.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::client::Client;
use super::failure::Failure;
use super::output::Terminal;

/// The pause before a lost stream is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// Longest line of a stream, bytes; a line of a log and an event's data are shorter.
const MAX_LINE: usize = 16 << 20;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Its type; empty when it has none.
    pub event: String,
    /// Its data.
    pub data: String,
}

/// Whether a stream is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// There is more to come.
    GoOn,
    /// That was all.
    End,
}

/// Reads the stream at `path` (given what was seen last, at first `after`) and hands its events to `take`, until that
/// says that it is the end. A stream that breaks off is opened again where it was; a node that is away is waited for,
/// `patience` long.
///
/// # Errors
/// What the node refuses or `take` answers, or a node that stays away.
pub async fn follow(
    client: &Client,
    terminal: &mut Terminal,
    after: u64,
    patience: Option<Duration>,
    path: impl Fn(u64) -> String,
    mut take: impl FnMut(&mut Terminal, Message) -> Result<Then, Failure>,
) -> Result<(), Failure> {
    let mut parser = Parser { last_id: after, ..Parser::default() };
    let mut away_since: Option<Instant> = None;
    loop {
        match client.stream(&path(parser.last_id), "text/event-stream").await {
            Ok(response) => {
                away_since = None;
                let mut body = response.into_body();
                // an error is a connection that was lost: the stream is opened again below
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(bytes) = frame.into_data() else { continue };
                    for message in parser.feed(&bytes)? {
                        if take(terminal, message)? == Then::End {
                            return Ok(());
                        }
                    }
                }
            }
            Err(error) if error.is_transient() => {
                let since = *away_since.get_or_insert_with(|| {
                    terminal.note("the node is away, waiting");
                    Instant::now()
                });
                if patience.is_some_and(|patience| since.elapsed() > patience) {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        parser.restart();
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// Takes a stream apart that comes in pieces which end anywhere.
#[derive(Debug, Default)]
struct Parser {
    buffer: Vec<u8>,
    message: Message,
    has_data: bool,
    id: Option<u64>,
    /// What to go on from: the id of the last whole event.
    last_id: u64,
}

impl Parser {
    /// The events that are complete with these bytes.
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, Failure> {
        let mut messages = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.buffer.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.buffer);
            messages.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches('\r')));
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() > MAX_LINE {
            return Err(Failure::failed(format!("the node sends a line of more than {MAX_LINE} bytes")));
        }
        Ok(messages)
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() => return self.complete(),
            "id" => self.id = value.parse().ok().or(self.id),
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.has_data = true;
                self.message.data.push_str(value);
            }
            _ => {}
        }
        None
    }

    /// An id counts when its event is whole; one without data says how far the stream has come.
    fn complete(&mut self) -> Option<Message> {
        self.last_id = self.id.take().unwrap_or(self.last_id);
        let message = std::mem::take(&mut self.message);
        std::mem::take(&mut self.has_data).then_some(message)
    }

    /// Forgets a half event before the stream is opened again.
    fn restart(&mut self) {
        *self = Self { last_id: self.last_id, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_understood_wherever_they_are_cut() {
        let text = ": alive\n\nid: 1\nevent: Begun\ndata: one\n\nretry: 5\r\nid: 2\r\ndata: two é\r\ndata:three\r\n\r\n\
                    : alive\nid: 9\n\nid: 10\ndata: ha";
        for size in [1, 7, 1_000] {
            let mut parser = Parser::default();
            let messages: Vec<Message> =
                text.as_bytes().chunks(size).flat_map(|piece| parser.feed(piece).unwrap()).collect();
            let message =
                |event: &str, data: &str| Message { event: event.to_owned(), data: data.to_owned() };
            assert_eq!(messages, [message("Begun", "one"), message("", "two é\nthree")], "pieces of {size}");
            assert_eq!(parser.last_id, 9, "the half event is not counted");
            parser.restart();
            assert_eq!(parser.feed(b"data: new\n\n").unwrap(), [message("", "new")]);
        }
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; MAX_LINE / 4];
        assert!((0..5).any(|_| parser.feed(&piece).is_err()));
    }
}
