//! The node's verification: one at a time in the background, its progress and verdict to be looked at. Never in here: what
//! is verified.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::IntegrityPorts;
use super::verification::{Progress, Subject, Verdict, verify};
use super::views::VerificationView;
use crate::ports::{Clock, EventStore};

/// The latest verification of this node.
#[derive(Default)]
pub struct Verifications {
    latest: Mutex<Option<Arc<Verification>>>,
}

/// One verification.
pub struct Verification {
    id: Uuid,
    started_at: Timestamp,
    trust: &'static str,
    progress: Progress,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
    Running,
    Done { at: Timestamp, verdict: Result<Verdict, String> },
}

/// Another verification runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy(pub Uuid);

/// What a verification works with.
pub struct Work {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// What seals them.
    pub ports: IntegrityPorts,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What the verdict will rest on, in words.
    pub trust: &'static str,
    /// Ends it with the node.
    pub draining: CancellationToken,
}

impl Verifications {
    /// Starts a verification. Under the id of the one that is there it is the same: a repeated request.
    ///
    /// # Errors
    /// While another one runs.
    pub fn start(&self, id: Uuid, work: Work) -> Result<Arc<Verification>, Busy> {
        let mut latest = self.lock();
        if let Some(known) = latest.as_ref() {
            if known.id == id {
                return Ok(Arc::clone(known));
            }
            if known.is_running() {
                return Err(Busy(known.id));
            }
        }
        let started = Arc::new(Verification {
            id,
            started_at: work.clock.now(),
            trust: work.trust,
            progress: Progress::default(),
            state: watch::Sender::new(State::Running),
        });
        *latest = Some(Arc::clone(&started));
        drop(tokio::spawn(run(Arc::clone(&started), work)));
        Ok(started)
    }

    /// The latest one; none when there was none since the node started.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Verification>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Verification>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(this: Arc<Verification>, work: Work) {
    // also when this task is torn down: nobody may wait for it for ever
    let ended = Ended { this: &this, clock: &*work.clock };
    let trusted =
        work.ports.signer.trusted().into_iter().map(|trusted| (trusted.key, trusted.until)).collect();
    let subject = Subject {
        events: &*work.events,
        integrity: &*work.ports.store,
        outside: Some(&*work.ports.outside),
        trusted,
    };
    let verdict = tokio::select! {
        verdict = verify(subject, &this.progress) => verdict.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store cannot be verified now");
            error.to_string()
        }),
        () = work.draining.cancelled() => Err("the node ends".to_owned()),
    };
    match &verdict {
        Ok(Verdict { fault: Some(fault), .. }) => {
            let (stream, position) =
                (fault.stream.as_ref().map(ToString::to_string), fault.position.map(|p| p.0));
            tracing::error!(%fault, stream, position, "integrity alarm: the store does not verify");
        }
        Ok(Verdict { counts, .. }) => tracing::info!(events = counts.events, "the store verifies"),
        Err(_) => {}
    }
    ended.with(verdict);
}

struct Ended<'a> {
    this: &'a Verification,
    clock: &'a dyn Clock,
}

impl Ended<'_> {
    fn with(&self, verdict: Result<Verdict, String>) {
        self.this.state.send_replace(State::Done { at: self.clock.now(), verdict });
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if self.this.is_running() {
            self.with(Err("it was broken off by a defect: see the node's log".to_owned()));
        }
    }
}

impl Verification {
    fn is_running(&self) -> bool {
        matches!(*self.state.borrow(), State::Running)
    }

    /// Waits for its end, but no longer than this.
    pub async fn wait(&self, patience: Duration) {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, State::Done { .. }));
        drop(tokio::time::timeout(patience, ended).await);
    }

    /// How it stands.
    #[must_use]
    pub fn view(&self) -> VerificationView {
        let (position, of) = (self.progress.position.load(Relaxed), self.progress.of.load(Relaxed));
        let mut view = VerificationView::running(self.trust, position, of);
        view.id = Some(self.id);
        view.started_at = Some(self.started_at);
        if let State::Done { at, verdict } = &*self.state.borrow() {
            view.ended_at = Some(*at);
            match verdict {
                Ok(verdict) => view.decide(verdict),
                Err(why) => view.fail(why),
            }
        }
        view
    }
}
