//! Every bound of the plugin host in one place, each with its reason. Bounds that a manifest names live there.

use std::time::Duration;

use flexcore_actors::limits::MAX_EVENT_BYTES;

/// Capacity asked for the pipes that carry records: nearly all of what 1 MiB gives, and four times as many of them
/// fit into an unprivileged user's share.
pub const PIPE_BYTES: usize = 256 << 10;
/// The relay's buffer between two programs as long as no line is longer.
pub const RELAY_BUFFER: usize = 2 * PIPE_BYTES;
/// How often a waiting relay publishes how long it has been waiting.
pub const RELAY_REPORT: Duration = Duration::from_millis(500);
/// A relay that is faster than its upstream lets this much time pass before it reads again, so that a program that
/// flushes every record does not wake it (and its downstream) for each one.
pub const RELAY_GATHER: Duration = Duration::from_micros(500);
/// Below this many bytes a read counts as small and the relay gathers.
pub const RELAY_SMALL_READ: usize = 32 << 10;
/// Singer streams counted by name in one attempt; further ones are counted together.
pub const MAX_STREAMS: usize = 10_000;
/// The name under which streams beyond [`MAX_STREAMS`] are counted.
pub const OTHER_STREAMS: &str = "(other streams)";
/// Characters of a line that is no JSON shown in an error.
pub const EXCERPT_CHARS: usize = 80;
/// Configuration values shorter than this are too common to be hidden in excerpts.
pub const REDACT_MIN_CHARS: usize = 4;

/// The largest bookmark: it must fit into an event with room for the event's other fields.
pub const MAX_STATE_BYTES: usize = MAX_EVENT_BYTES / 2;
/// The longest log line; what is longer is cut with a mark.
pub const MAX_LOG_LINE: usize = 64 << 10;
/// Bytes read from a log pipe in one go.
pub const LOG_READ: usize = 64 << 10;

/// How long downstream programs have to finish what they were given after a program before them failed, until they
/// are asked to stop: writing out a large batch is worth waiting for, a hanging target is not.
pub const DRAIN_GRACE: Duration = Duration::from_secs(60);
/// How long pipes may stay open after every program is gone, before they are given up.
pub const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The longest single environment variable Linux passes to a program (`MAX_ARG_STRLEN`, its end mark included).
pub const MAX_ENV_BYTES: usize = 128 << 10;
/// How long a tap has to answer `--discover`.
pub const DISCOVER_TIMEOUT: Duration = Duration::from_secs(300);

/// The largest frame of the flexcore protocol.
pub const MAX_FRAME: usize = 16 << 20;
/// The deepest nesting of a frame's values.
pub const MAX_NESTING: usize = 64;
/// The largest call, with its arguments: as much as a request over HTTP.
pub const MAX_CALL_BYTES: usize = 1 << 20;
/// The least time between the calls of a program, which are carried out one after the other: what one that calls all
/// the time costs everyone is bounded.
pub const CALL_INTERVAL: Duration = Duration::from_millis(10);
/// Characters of the name of a call that was denied.
pub const CALL_CHARS: usize = EXCERPT_CHARS;
/// How long a program has to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the trial of a program, when its plugin is registered, may take.
pub const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Plugins that are looked at before their registration at the same time; more wait.
pub const EXAMINATIONS: usize = 4;

/// How long an interpreter that was started ahead may take to import what its program depends on.
pub const WARM_READY: Duration = Duration::from_secs(60);
/// How long it waits for an execution: its memory is not others' then, and what it imported does not grow old.
pub const WARM_IDLE: Duration = Duration::from_secs(10 * 60);
/// How long it has to take its order, once there is one, before the program is started cold.
pub const WARM_ANSWER: Duration = Duration::from_secs(2);

/// How long building one environment may take.
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// How often a builder that waits for another one looks again.
pub const BUILD_POLL: Duration = Duration::from_millis(200);
/// Resident memory a build may use: wheels are unpacked in memory.
pub const BUILD_MEMORY: u64 = 2 << 30;

/// Bytes of temporary files of a build: wheels are unpacked and sources compiled there.
pub const BUILD_SCRATCH: u64 = 1 << 30;
/// Lines of pip's output named in a build's failure.
pub const BUILD_TAIL: usize = 8;
/// Bytes of pip's output kept in the build's log.
pub const BUILD_LOG: usize = 4 << 20;
