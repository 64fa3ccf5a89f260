//! `GET /events/stream`: events as they happen, as server-sent events. The id of each is its position, from which a
//! client that lost its connection goes on; nothing is left out and nothing comes twice. A client that does not read
//! is told so and let go: it goes on where it was when it comes back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::runtime::api::{ApiError, EventFeed, EventQuery};
use flexcore_actors::runtime::views::EventView;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use warp::Reply;

use super::limits::{EVENT_BUFFER, EVENT_CLIENTS, EVENT_PAGE, EVENT_RECONNECT_MS, KEEP_ALIVE, SLOW_CLIENT};
use super::problem::Problem;
use super::reply::{Answer, Ctx};

/// The places of those who follow.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(EVENT_CLIENTS))
}

/// Answers with the events from where the client was: its `Last-Event-ID`, else `after`, else from now on.
pub(super) async fn follow(ctx: Ctx, query: EventQuery, places: Arc<Semaphore>) -> Answer {
    let after = match begin(&ctx)? {
        Some(after) => after,
        None => ctx.api.head().await?,
    };
    let place = places.try_acquire_owned().map_err(|_| ApiError::Overloaded {
        what: "the event stream".to_owned(),
        retry_after: KEEP_ALIVE.as_secs(),
    })?;
    let (sender, mut receiver) = mpsc::channel(EVENT_BUFFER + 1);
    let feeder = Feeder {
        feed: ctx.api.follow_events(EventQuery { after, limit: EVENT_PAGE, ..query }),
        position: after,
        sender,
        shutdown: ctx.call.shutdown.clone(),
        patience: SLOW_CLIENT,
        alive_every: KEEP_ALIVE,
        place,
    };
    tokio::spawn(feeder.run().in_current_span());
    let mut response = warp::reply::stream(stream::poll_fn(move |cx| receiver.poll_recv(cx))).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // a proxy that collects answers would hold events back
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// A browser that comes back asks by the same address again: what it saw last counts more than `after`.
fn begin(ctx: &Ctx) -> Result<Option<Position>, Problem> {
    let after = ctx.call.query.number("after")?;
    let seen = ctx.call.headers.get("last-event-id").filter(|id| !id.is_empty());
    let Some(seen) = seen else { return Ok(after.map(Position)) };
    let position = seen.to_str().ok().and_then(|id| id.parse().ok());
    let bad = || Problem::parameter("Last-Event-ID", "Last-Event-ID is the position of an event");
    position.map(Position).map(Some).ok_or_else(bad)
}

/// Feeds one client; ends with it, with its patience or with the node.
pub(super) struct Feeder {
    pub(super) feed: EventFeed,
    /// What the client has got, or has in its buffer.
    pub(super) position: Position,
    pub(super) sender: mpsc::Sender<io::Result<Bytes>>,
    pub(super) shutdown: CancellationToken,
    /// How long the client may leave its buffer full.
    pub(super) patience: Duration,
    /// How long the client hears nothing at most.
    pub(super) alive_every: Duration,
    /// One of the places of those who follow.
    pub(super) place: OwnedSemaphorePermit,
}

/// Why a stream ends.
enum End {
    Gone,
    Told { reason: &'static str, detail: &'static str },
}

const DRAINING: End = End::Told { reason: "draining", detail: "the node is shutting down: connect again" };
const SLOW: End = End::Told {
    reason: "slow_client",
    detail: "the events were not read in time: connect again to go on where you were",
};
const FAILED: End = End::Told { reason: "failed", detail: "the event store failed: the node's log says why" };

impl Feeder {
    pub(super) async fn run(mut self) {
        let (sender, shutdown) = (self.sender.clone(), self.shutdown.clone());
        let end = tokio::select! {
            end = self.feed() => end,
            () = sender.closed() => End::Gone,
            () = shutdown.cancelled() => DRAINING,
        };
        if let End::Told { reason, detail } = end {
            tracing::debug!(reason, position = self.position.0, "an event stream ends");
            let data = json!({"reason": reason, "detail": detail, "position": self.position});
            let text = format!("event: end\ndata: {data}\n\n");
            // one place of the buffer is kept free for this
            sender.try_send(Ok(Bytes::from(text))).unwrap_or_default();
        }
        drop(self.place);
    }

    async fn feed(&mut self) -> End {
        if let Err(end) = self.send(format!("retry: {EVENT_RECONNECT_MS}\n\n")).await {
            return end;
        }
        let mut quiet_until = Instant::now() + self.alive_every;
        loop {
            // told with each sign of life, so that a client comes back to here and not to the last event that passed
            let alive = format!(": alive\nid: {}\n\n", self.position);
            let next = tokio::select! {
                next = self.feed.next() => Some(next),
                // also while events go by that the client does not want
                () = sleep_until(quiet_until) => None,
            };
            let text = match next {
                None => alive,
                Some(Err(_)) => return FAILED,
                Some(Ok((events, position))) => {
                    self.position = position;
                    events.iter().map(rendered).collect()
                }
            };
            if text.is_empty() {
                continue;
            }
            if let Err(end) = self.send(text).await {
                return end;
            }
            quiet_until = Instant::now() + self.alive_every;
        }
    }

    /// Puts a piece into the client's buffer, and leaves a place for the last words.
    async fn send(&self, text: String) -> Result<(), End> {
        let mut places = match timeout(self.patience, self.sender.reserve_many(2)).await {
            Ok(Ok(places)) => places,
            Ok(Err(_)) => return Err(End::Gone),
            Err(_) => return Err(SLOW),
        };
        if let Some(place) = places.next() {
            place.send(Ok(Bytes::from(text)));
        }
        Ok(())
    }
}

fn rendered(event: &EventView) -> String {
    let data = serde_json::to_string(event).expect("events always serialise");
    // of one line each: names of types hold no line breaks, and JSON escapes them
    format!("id: {}\nevent: {}\ndata: {data}\n\n", event.position, event.kind)
}
