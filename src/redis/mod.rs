//! Hints between nodes over Redis pub/sub, and each node's key for people who look. Never in here: what a hint leads to.
//! Whatever is wrong with Redis, only news travel slower.
//!
//! A connection has one life: it is made, used, and given up at the first sign of trouble, among them that the node does not
//! hear its own beacon. The client library's own reconnecting is not used, because a subscription can be dead behind it, and
//! because it sends what its caller has long given up.

mod session;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flexcore_actors::domain::ids::{Incarnation, Name};
use flexcore_actors::ports::cluster::{Heard, Hint, Hints};
use fred::prelude::{Builder, Config, Error, ErrorKind};
use fred::types::config::UnresponsiveConfig;
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::session::{Ended, Session};

/// Hints that wait to be sent; one that finds no room is dropped.
const QUEUE: usize = 256;
/// What was heard and not taken yet.
const HEARD: usize = 256;
/// How long a connection may take to be made, and a command to be answered.
const ANSWER: Duration = Duration::from_secs(1);
/// How often the node hears itself.
const BEACON: Duration = Duration::from_secs(1);
/// How long it may fail to; longer than [`ANSWER`] and two beacons.
const SILENCE: Duration = Duration::from_secs(4);
/// How long the node's key outlives it.
const KEY_SECONDS: i64 = 10;
/// Pauses between two connections: doubling up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Messages that the library keeps for us; more are told as a gap.
const BROADCAST: usize = 1_024;
/// Nodes whose numbers are remembered.
const SENDERS: usize = 1_024;

/// Who this node is among those that hear it.
#[derive(Debug, Clone)]
pub struct Station {
    /// What all keys and channels of the cluster begin with.
    pub prefix: String,
    /// The node's name.
    pub node: Name,
    /// This life of it.
    pub incarnation: Incarnation,
}

/// Hints over Redis.
pub struct RedisHints {
    queue: mpsc::Sender<Hint>,
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    connected: AtomicBool,
    dropped: AtomicU64,
}

impl RedisHints {
    /// Begins to publish and hear; connects in the background, so a server that is away delays nothing.
    ///
    /// # Errors
    /// When the URL is not one of a single Redis server. The error does not hold it.
    pub fn start(url: &str, station: Station) -> Result<Self, Error> {
        let builder = builder(url)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (tell, heard) = mpsc::channel(HEARD);
        let state = Arc::new(State::default());
        let task = tokio::spawn(live(builder, station, waiting, tell, Arc::clone(&state)));
        Ok(Self { queue, heard: Mutex::new(Some(heard)), state, task })
    }

    /// Hints that were not sent, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Relaxed)
    }
}

impl Drop for RedisHints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hints for RedisHints {
    fn publish(&self, hint: Hint) {
        if self.queue.try_send(hint).is_err() {
            self.state.dropped.fetch_add(1, Relaxed);
        }
    }

    fn listen(&self) -> mpsc::Receiver<Heard> {
        let taken = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        // a second listener hears nothing
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn connected(&self) -> bool {
        self.state.connected.load(Relaxed)
    }
}

/// Whether this is the URL of a single Redis server; otherwise what is wrong, without showing it.
///
/// # Errors
/// What is wrong, in words for people.
pub fn check(url: &str) -> Result<(), String> {
    builder(url).map(drop).map_err(|error| error.details().to_owned())
}

/// How connections are made. There is no reconnect policy on purpose, see the head of this file.
fn builder(url: &str) -> Result<Builder, Error> {
    if !url.starts_with("redis://") {
        return Err(Error::new(ErrorKind::Url, "the URL does not begin with redis://"));
    }
    let config = Config::from_url_centralized(url)?;
    let mut builder = Builder::from_config(config);
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = ANSWER;
        performance.broadcast_channel_capacity = BROADCAST;
    });
    builder.with_connection_config(|connection| {
        connection.connection_timeout = ANSWER;
        connection.internal_command_timeout = ANSWER;
        connection.max_command_attempts = 1;
        connection.max_command_buffer_len = QUEUE;
        connection.unresponsive =
            UnresponsiveConfig { max_timeout: Some(SILENCE), interval: Duration::from_millis(500) };
    });
    Ok(builder)
}

/// One connection after the other, for as long as the node lives.
async fn live(
    builder: Builder,
    station: Station,
    mut waiting: mpsc::Receiver<Hint>,
    tell: mpsc::Sender<Heard>,
    state: Arc<State>,
) {
    let mut pause = PAUSE.0;
    let mut told = false;
    let mut sequence = 0;
    loop {
        match Session::open(&builder, &station).await {
            Ok(mut session) => {
                state.connected.store(true, Relaxed);
                tracing::info!("hints pass over redis");
                (pause, told) = (PAUSE.0, false);
                // what was said before nobody here has heard
                tell.try_send(Heard::Gap).unwrap_or_default();
                let ended = session.serve(&station, &mut sequence, &mut waiting, &tell).await;
                state.connected.store(false, Relaxed);
                match ended {
                    Ended::Lost { why, unsent } => {
                        state.dropped.fetch_add(u64::from(unsent), Relaxed);
                        tracing::warn!(
                            why,
                            "redis is away: news of other nodes come from the database alone"
                        );
                    }
                    Ended::NobodyListens => return,
                }
                session.close().await;
            }
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "redis cannot be reached: news of other nodes come from the database alone");
            }
            Err(error) => tracing::debug!(%error, "redis still cannot be reached"),
        }
        // what waits is old when the next connection is there
        while waiting.try_recv().is_ok() {
            state.dropped.fetch_add(1, Relaxed);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
