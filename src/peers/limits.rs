//! Every bound of the connections between nodes.

use std::time::Duration;

/// How long a connection may take to be made, the handshake included: nodes of a cluster are near each other.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How often a connection without news is tried, and how long the other side may take to answer that: together less than
/// a lease, so that a peer that vanished without a word is known to be lost before its shards have moved.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// See [`KEEP_ALIVE`].
pub(super) const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(2);
/// Connections served at once; the others of a cluster make one each, and one more while they make a new one.
pub(super) const MAX_CONNECTIONS: usize = 1_024;
/// Questions and conversations of one connection that are served at once; more wait.
pub(super) const MAX_STREAMS: u32 = 1_024;
/// Peers to which a connection is kept.
pub(super) const MAX_PEERS: usize = 1_024;
/// Frames of a conversation that wait for a slow reader.
pub(super) const TALK_QUEUE: usize = 16;
/// Pause after an accept that failed, so that a lack of descriptors is not a busy loop.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is said that strangers were turned away.
pub(super) const TELL_STRANGERS: Duration = Duration::from_secs(1);
/// How long open questions have to be answered when the node ends.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Bytes of a frame beyond its body.
pub(super) const FRAME_OVERHEAD: usize = 64;
