//! The thread of one link: read, check, deliver.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flexcore_actors::ports::plugin_host::{HostEvent, Progress};
use nix::errno::Errno;
use nix::poll::PollFlags;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::check::Fault;
use super::control::{Control, Order};
use super::lines::{Inspected, Lines};
use super::pipe;
use super::tally::Tally;
use super::wait::{discard, wait};
use crate::plugins::limits::{MAX_STATE_BYTES, RELAY_GATHER, RELAY_SMALL_READ};
use crate::plugins::states::is_bookmark;

/// One link, before it runs.
#[derive(Debug)]
pub struct Link {
    /// The reading end of the upstream program's output.
    pub upstream: OwnedFd,
    /// Where its lines go.
    pub sink: Sink,
    /// The longest line in bytes.
    pub line_limit: usize,
    /// Live counters this link feeds.
    pub progress: Arc<Progress>,
    /// Which of them.
    pub feeds: Feeds,
}

/// Where the lines of a link go.
#[derive(Debug)]
pub enum Sink {
    /// The writing end of the downstream program's input.
    Program(OwnedFd),
    /// Nowhere: the program stands alone. Its bookmarks are handed over, the rest is counted.
    States(mpsc::Sender<HostEvent>),
}

/// Which live counters a link of a longer pipe feeds: the first knows the source, the last the destination.
#[derive(Debug, Clone, Copy)]
pub struct Feeds {
    /// Time waited for the upstream.
    pub upstream: bool,
    /// Records, bytes, fill and time waited for the downstream.
    pub downstream: bool,
}

/// How a link ended and what it measured.
#[derive(Debug)]
pub struct LinkEnd {
    /// Why it ended.
    pub outcome: Outcome,
    /// When the outcome was known.
    pub at: Instant,
    /// Counts.
    pub tally: Tally,
    /// Time the upstream made it wait.
    pub upstream_wait: Duration,
    /// Time the downstream made it wait.
    pub downstream_wait: Duration,
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream's output ended and everything was delivered.
    Complete,
    /// As `Complete`, but the last line, whose number is given, was cut off and not delivered.
    HalfLine(u64),
    /// The upstream wrote a bad line; what came before it was delivered.
    BadLine(u64, Fault),
    /// The downstream closed its input before the end.
    DownstreamClosed,
    /// It was told to.
    Stopped,
    /// A pipe failed in a way pipes do not.
    Broken(String),
}

/// Starts a link on a thread of its own.
///
/// # Errors
/// When a pipe cannot be used or the thread cannot be started.
pub fn spawn(link: Link, control: Control) -> io::Result<oneshot::Receiver<LinkEnd>> {
    pipe::set_non_blocking(&link.upstream)?;
    if let Sink::Program(downstream) = &link.sink {
        pipe::set_non_blocking(downstream)?;
    }
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
        let (end, leftover) = Relay::new(link, control.clone()).run();
        // nobody listens when the attempt was dropped
        let _ = ended.send(end);
        if let Some(upstream) = leftover {
            discard(&upstream, &control);
        }
    })?;
    Ok(end)
}

struct Relay {
    link: Link,
    control: Control,
    lines: Lines,
    tally: Tally,
    capacity: u64,
    upstream_wait: Duration,
    downstream_wait: Duration,
    reported: (u64, u64),
}

/// Why work stopped.
struct Stop(Outcome);

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self(match errno {
            Errno::EPIPE => Outcome::DownstreamClosed,
            other => Outcome::Broken(other.to_string()),
        })
    }
}

impl Relay {
    fn new(link: Link, control: Control) -> Self {
        let (capacity, state_limit) = match &link.sink {
            Sink::Program(end) => (pipe::capacity(end), usize::MAX),
            Sink::States(_) => (1, MAX_STATE_BYTES),
        };
        Self {
            lines: Lines::new(link.line_limit, state_limit),
            tally: Tally::default(),
            capacity,
            upstream_wait: Duration::ZERO,
            downstream_wait: Duration::ZERO,
            reported: (0, 0),
            link,
            control,
        }
    }

    /// Relays to the end; with the upstream's pipe when something may still be written into it.
    fn run(mut self) -> (LinkEnd, Option<OwnedFd>) {
        let outcome = match self.relay() {
            Ok(()) => Outcome::Complete,
            Err(Stop(outcome)) => outcome,
        };
        let at = Instant::now();
        self.publish();
        let Self { link, tally, upstream_wait, downstream_wait, .. } = self;
        // the end of the downstream's input comes after the outcome's time: what it does next is an answer to it
        drop(link.sink);
        let leftover = matches!(outcome, Outcome::Stopped | Outcome::BadLine(..)).then_some(link.upstream);
        (LinkEnd { outcome, at, tally, upstream_wait, downstream_wait }, leftover)
    }

    fn relay(&mut self) -> Result<(), Stop> {
        loop {
            let read = self.read()?;
            if read == 0 {
                let half = self.lines.finish(&self.tally);
                self.pass()?;
                return half.map_err(|(line, _)| Stop(Outcome::HalfLine(line)));
            }
            self.lines.filled(read);
            self.pass()?;
            if self.control.current() >= Order::Finish {
                return Err(Stop(Outcome::Stopped));
            }
            if read < RELAY_SMALL_READ {
                std::thread::sleep(RELAY_GATHER);
            }
        }
    }

    /// Delivers the whole lines of the buffer.
    fn pass(&mut self) -> Result<(), Stop> {
        let inspected = self.lines.inspect(&mut self.tally);
        self.deliver(&inspected)?;
        self.tally.delivered(inspected.good.iter().map(|part| part.len() as u64).sum());
        self.lines.consume(&inspected);
        self.publish();
        inspected.bad.map_or(Ok(()), |(line, fault)| Err(Stop(Outcome::BadLine(line, fault))))
    }

    fn deliver(&mut self, inspected: &Inspected) -> Result<(), Stop> {
        match &self.link.sink {
            Sink::Program(_) => {
                for part in &inspected.good {
                    self.write(part.clone())?;
                }
            }
            Sink::States(states) => {
                for part in &inspected.states {
                    // python's numbers may make a state unreadable; it is skipped, the next one comes
                    let Ok(StateLine { value }) = serde_json::from_slice(self.lines.part(part)) else {
                        continue;
                    };
                    if !is_bookmark(&value) {
                        continue;
                    }
                    let started = Instant::now();
                    let sent = states.blocking_send(HostEvent::State(value));
                    self.downstream_wait += started.elapsed();
                    sent.map_err(|_| Stop(Outcome::Stopped))?;
                }
            }
        }
        Ok(())
    }

    /// Reads what there is, waiting for it; 0 at the end.
    fn read(&mut self) -> Result<usize, Stop> {
        loop {
            // asked before the read: what the upstream wrote before it was gone is then found by the read
            let gone = self.control.current() == Order::UpstreamGone;
            match nix::unistd::read(&self.link.upstream, self.lines.space()) {
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if gone => return Ok(0),
                Err(Errno::EAGAIN) => self.wait_for_upstream()?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Writes one part whole.
    fn write(&mut self, part: std::ops::Range<usize>) -> Result<(), Stop> {
        let Sink::Program(downstream) = &self.link.sink else { return Ok(()) };
        let mut rest = part;
        while !rest.is_empty() {
            match nix::unistd::write(downstream, self.lines.part(&rest)) {
                Ok(count) => rest.start += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let waited = wait(downstream, PollFlags::POLLOUT, None, &self.control)?;
                    self.downstream_wait += waited;
                    publish_waits(&self.link, self.upstream_wait, self.downstream_wait);
                    if self.control.current() == Order::Abandon {
                        return Err(Stop(Outcome::Stopped));
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn wait_for_upstream(&mut self) -> Result<(), Stop> {
        let downstream = match &self.link.sink {
            Sink::Program(end) => Some(end),
            Sink::States(_) => None,
        };
        self.upstream_wait += wait(&self.link.upstream, PollFlags::POLLIN, downstream, &self.control)?;
        publish_waits(&self.link, self.upstream_wait, self.downstream_wait);
        if self.control.current() >= Order::Finish { Err(Stop(Outcome::Stopped)) } else { Ok(()) }
    }

    fn publish(&mut self) {
        publish_waits(&self.link, self.upstream_wait, self.downstream_wait);
        if !self.link.feeds.downstream {
            return;
        }
        let (records, bytes) = self.reported;
        self.reported = (self.tally.records, self.tally.bytes);
        let progress = &self.link.progress;
        progress.records.fetch_add(self.tally.records - records, Ordering::Relaxed);
        progress.bytes.fetch_add(self.tally.bytes - bytes, Ordering::Relaxed);
        if let Sink::Program(end) = &self.link.sink {
            let fill = pipe::waiting(end.as_fd()) * 1_000 / self.capacity;
            progress.fill_per_mille.store(fill.min(1_000), Ordering::Relaxed);
        }
    }
}

#[derive(serde::Deserialize)]
struct StateLine {
    #[serde(default)]
    value: Value,
}

fn publish_waits(link: &Link, upstream: Duration, downstream: Duration) {
    let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    if link.feeds.upstream {
        link.progress.upstream_ms.store(ms(upstream), Ordering::Relaxed);
    }
    if link.feeds.downstream {
        link.progress.downstream_ms.store(ms(downstream), Ordering::Relaxed);
    }
}
