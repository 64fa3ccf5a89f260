//! Every bound of the gateway, each with its reason. Nothing here is read from a configuration: what an operator
//! may change is in [`super::Config`], whose defaults are these.

use std::time::Duration;

/// Connections served at once; the next ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 1_024;
/// How long a client may take to send the head of a request, and how long a connection may stay idle between two.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take from its head to its answer's head. The inside gives up earlier than this.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take no byte of an answer that waits for it: longer than a stream of events is patient with
/// it, so that the stream's last words can still be read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long open requests have to end after shutdown was asked for.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Bytes of a request's head: a path, a query and headers for people and programs, never data.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;
/// Bytes of a request's body, counted as they arrive, however it is framed.
pub(super) const BODY_LIMIT: usize = 1 << 20;
/// How long a client may take to send a body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a body over [`BODY_LIMIT`] that are read and thrown away, so that its sender comes to read the answer.
pub(super) const DISCARD_LIMIT: usize = 16 << 20;
/// How long that may take.
pub(super) const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, so that a lack of descriptors is not a busy loop.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Items of a list when the request does not say.
pub(super) const DEFAULT_PAGE: usize = 100;
/// Most items of a list.
pub(super) const MAX_PAGE: usize = 1_000;
/// Longest cursor that is looked at; the node's own are far shorter.
pub(super) const MAX_CURSOR: usize = 512;
/// How long a list waits for `min_position`.
pub(super) const POSITION_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
pub(super) const POSITION_POLL: Duration = Duration::from_millis(50);

/// Longest `X-Correlation-ID`.
pub(super) const MAX_CORRELATION: usize = 128;
/// Most characters of a method or path of a refused request that the audit log keeps.
pub(super) const MAX_AUDITED: usize = 200;
/// Longest `Idempotency-Key`.
pub(super) const MAX_IDEMPOTENCY_KEY: usize = 255;
/// When to come back after an answer of 503 that knows no better, seconds.
pub(super) const RETRY_AFTER_SECS: u64 = 5;
/// How long the state of the node's dependencies is waited for.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `/plugins/{name}/execute` waits for the end when the request does not say.
pub(super) const EXECUTE_WAIT: Duration = Duration::from_secs(30);
/// How long it may be asked to wait.
pub(super) const EXECUTE_WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Log lines read from the store in one go.
pub(super) const LOG_PAGE: usize = 500;
/// Pages of log lines that wait for a slow reader.
pub(super) const LOG_BUFFER: usize = 2;
/// How often a followed log looks for new lines.
pub(super) const LOG_POLL: Duration = Duration::from_millis(250);
/// How often an idle event stream says that it is alive, so that proxies keep it open.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Clients that follow the events at once: half of the connections there are by default.
pub(super) const EVENT_CLIENTS: usize = 512;
/// Events read for a follower in one go.
pub(super) const EVENT_PAGE: usize = 100;
/// Pages of events that wait for a slow client.
pub(super) const EVENT_BUFFER: usize = 2;
/// How long a client may leave its buffer full.
pub(super) const SLOW_CLIENT: Duration = Duration::from_secs(30);
/// How long a client is told to wait before it connects again, milliseconds.
pub(super) const EVENT_RECONNECT_MS: u32 = 500;

/// Exports that may be taken at the same time: each one reads the whole log.
pub(super) const EXPORTS: usize = 4;
/// Pages of an export that wait for a slow client.
pub(super) const EXPORT_BUFFER: usize = 2;

/// Pages of plugins searched for quarantined ones: 10,000 plugins.
pub(super) const QUARANTINE_PAGES: usize = 10;
