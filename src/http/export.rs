//! `GET /events/export`: the log as lines that can be verified without this node. Pages are read as the client takes them, so
//! that an export of any length costs a few pages of memory.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flexcore_actors::runtime::api::ApiError;
use flexcore_actors::runtime::integrity::export::{ExportQuery, Exporter};
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::Instrument;
use warp::Reply;

use super::limits::{EXPORT_BUFFER, EXPORTS, SLOW_CLIENT};
use super::reply::{Answer, Ctx};

/// Places for exports at the same time.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(EXPORTS))
}

/// Answers with the lines; they end with one that says so, without which the export is not whole.
pub(super) async fn export(ctx: Ctx, places: Arc<Semaphore>) -> Answer {
    let query =
        ExportQuery { stream: ctx.call.query.parsed("aggregate_id")?, after: ctx.call.query.after()? };
    let place = places.try_acquire_owned().map_err(|_| ApiError::Overloaded {
        what: "exports".to_owned(),
        retry_after: SLOW_CLIENT.as_secs(),
    })?;
    let exporter = ctx.api.export(query).await?;
    let (sender, mut receiver) = mpsc::channel(EXPORT_BUFFER);
    tokio::spawn(feed(ctx, exporter, sender, place).in_current_span());
    let mut response = warp::reply::stream(stream::poll_fn(move |cx| receiver.poll_recv(cx))).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Feeds one answer; ends with the export, with the client or with the node.
async fn feed(
    ctx: Ctx,
    mut exporter: Exporter,
    sender: mpsc::Sender<io::Result<Bytes>>,
    _place: OwnedSemaphorePermit,
) {
    let lines = async {
        loop {
            match exporter.next().await {
                Ok(Some(lines)) => {
                    // a client that takes nothing must not keep its place
                    if !matches!(timeout(SLOW_CLIENT, sender.send(Ok(Bytes::from(lines)))).await, Ok(Ok(())))
                    {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "an export was broken off");
                    drop(sender.send(Err(io::Error::other("the export was broken off"))).await);
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = lines => {}
        () = ctx.call.shutdown.cancelled() => {}
    }
}
