//! Learns of every commit in the database, by anyone: a connection of its own listens for the notifications that
//! `flexcore_append` sends with each batch. They are hints only. The head is read after every (new) start of
//! listening, so that nothing falls between two connections, and once a second, so that a notification that never
//! came costs a second and nothing else. Nothing here reads events.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::ports::head::Head;
use tokio::task::JoinHandle;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket};

use super::config::CONNECT_TIMEOUT;
use super::{error, value};

/// How often the head is read whether or not something was heard. An answer that takes as long as
/// [`ANSWER_TIMEOUT`] ends the connection: it is how one is found that is open on this side only.
const POLL: Duration = Duration::from_secs(1);
/// How long the database may take to answer what is a matter of microseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the first attempt to connect again; doubled up to [`RECONNECT_MAX`].
const RECONNECT: Duration = Duration::from_millis(50);
/// The longest pause.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

const OPERATION: &str = "listen for commits";

/// The task that listens, until this is dropped.
pub(super) struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Starts to listen; what is heard raises `head`.
    pub(super) fn start(config: Config, head: Arc<Head>) -> Self {
        Self(tokio::spawn(async move { keep_listening(&config, &head).await }))
    }
}

async fn keep_listening(config: &Config, head: &Head) {
    let mut pause = RECONNECT;
    loop {
        let mut heard = false;
        let Err(error) = listen(config, head, &mut heard).await;
        pause = if heard { RECONNECT } else { (pause * 2).min(RECONNECT_MAX) };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            ?pause,
            "commits are not heard of for the moment: listening again"
        );
        tokio::time::sleep(pause).await;
    }
}

/// One connection's life. `heard` is set when it had begun to listen.
async fn listen(
    config: &Config,
    head: &Head,
    heard: &mut bool,
) -> Result<std::convert::Infallible, StoreError> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(NoTls));
    let (client, connection) = match connecting.await {
        Ok(connected) => connected.map_err(|e| error::not_stored(OPERATION, e))?,
        Err(_) => return Err(silent(CONNECT_TIMEOUT)),
    };
    // the statements are answered only while the connection is driven
    tokio::select! {
        ended = drive(connection, head) => Err(ended),
        ended = ask(&client, head, heard) => ended,
    }
}

/// Drives the connection and takes what it is notified of, until it ends.
async fn drive(mut connection: Connection<Socket, NoTlsStream>, head: &Head) -> StoreError {
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(told))) => {
                // only hints: another program may notify of anything, the poll knows better
                if let Ok(position) = told.payload().parse() {
                    head.raise(Position(position));
                }
            }
            Some(Ok(_)) => {}
            Some(Err(e)) => return error::not_stored(OPERATION, e),
            None => {
                return StoreError::Unavailable {
                    operation: OPERATION,
                    source: "the database closed the connection".into(),
                };
            }
        }
    }
}

/// Begins to listen, then reads the head for as long as the connection answers.
async fn ask(client: &Client, head: &Head, heard: &mut bool) -> Result<std::convert::Infallible, StoreError> {
    answered(client.batch_execute("listen flexcore_events")).await?;
    let statement = answered(client.prepare("select next_position - 1 as head from log_head")).await?;
    loop {
        let row = answered(client.query_one(&statement, &[])).await?;
        let last = value::counter(&row, "head").map_err(|e| error::not_stored(OPERATION, e))?;
        head.raise(Position(last));
        *heard = true;
        tokio::time::sleep(POLL).await;
    }
}

async fn answered<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, pin!(asked)).await {
        Ok(answer) => answer.map_err(|e| error::not_stored(OPERATION, e)),
        Err(_) => Err(silent(ANSWER_TIMEOUT)),
    }
}

fn silent(waited: Duration) -> StoreError {
    StoreError::Unavailable { operation: OPERATION, source: error::too_slow(waited) }
}
