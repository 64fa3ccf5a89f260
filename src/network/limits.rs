//! Every bound of programs' connections. No behaviour in here.

use std::time::Duration;

/// Most hosts and ports of one program: each is a listener whose descriptor the launcher passes.
pub const MOST_TARGETS: usize = flexcore_jailer::protocol::MOST_CONNECTIONS;

/// Open connections of one program at a time; more wait until one of them ends.
pub const PROGRAM_CONNECTIONS: usize = 128;

/// Open connections of all programs of the node at a time, two descriptors each; more wait.
pub const NODE_CONNECTIONS: usize = 2_048;

/// Names that the system resolves for programs at a time: each takes a thread, and the system's patience is not ours.
pub const RESOLUTIONS: usize = 32;

/// How long one name may take to resolve.
pub const RESOLVE_WAIT: Duration = Duration::from_secs(10);

/// Addresses of a host that are tried, in the resolver's order.
pub const MOST_ADDRESSES: usize = 8;

/// How long one address may take to answer; a host whose first address is dead is reached by its next.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How long a connection that failed keeps its place, so that a program that tries without end costs little.
pub const FAILURE_HOLD: Duration = Duration::from_millis(100);

/// Pause after the system refuses to accept (out of descriptors, mostly).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Buffer of one direction of a connection: tokio's own 8 KiB halve the rate.
pub const RELAY_BYTES: usize = 64 << 10;

/// How long what a program sent before its end may take to arrive.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// When a silent host is asked whether it is still there, so that one that vanished does not hold a program for ever.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Between such questions, of which the system asks nine.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Different refusals that are kept of a program; further ones are counted.
pub const MOST_REFUSALS: usize = 32;

/// Longest question to the name service that is read: what DNS allows without extensions.
pub const QUESTION_BYTES: usize = 512;
