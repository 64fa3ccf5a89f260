//! The network between nodes of one process, with faults of a test's choice: peers ask each other, hints are heard by all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::ids::{Incarnation, Name};
use crate::ports::BoxFuture;
use crate::ports::cluster::{Heard, Hint, Hints, Member, PeerError, PeerService, Peers};

/// Hints that may wait for a listener; then it hears of a gap.
const HINTS: usize = 64;

/// All nodes of a test.
#[derive(Default)]
pub struct MemoryNetwork {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<Name, Arc<dyn PeerService>>,
    listeners: BTreeMap<Name, mpsc::Sender<Heard>>,
    cut: BTreeSet<Name>,
    /// Conversations between two nodes, and what breaks them off.
    talks: Vec<([Name; 2], CancellationToken)>,
    /// How many answers get lost.
    losses: u32,
    asked: u64,
    /// Hints that arrived.
    heard: u64,
    /// Hints that found a listener's queue full.
    missed: u64,
}

impl MemoryNetwork {
    /// A network of nobody.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on the node of this name answers.
    pub fn connect(&self, node: &Name, service: Arc<dyn PeerService>) {
        self.state().services.insert(node.clone(), service);
    }

    /// Nobody reaches the node, and it reaches nobody.
    pub fn cut(&self, node: &Name) {
        let mut state = self.state();
        state.cut.insert(node.clone());
        state.talks.iter().filter(|(ends, _)| ends.contains(node)).for_each(|(_, broken)| broken.cancel());
    }

    /// The answers to the next questions get lost, though the questions arrive.
    pub fn lose_answers(&self, answers: u32) {
        self.state().losses = answers;
    }

    /// How many questions arrived.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.state().asked
    }

    /// How many hints arrived at a listener, each counted once for everyone who heard it, and how many found the
    /// listener's queue full.
    #[must_use]
    pub fn told(&self) -> (u64, u64) {
        let state = self.state();
        (state.heard, state.missed)
    }

    /// The network as one node uses it: to ask, and to tell and hear news.
    #[must_use]
    pub fn end(self: &Arc<Self>, node: &Name) -> Arc<NetworkEnd> {
        Arc::new(NetworkEnd { network: Arc::clone(self), node: node.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's end of a [`MemoryNetwork`].
pub struct NetworkEnd {
    network: Arc<MemoryNetwork>,
    node: Name,
}

impl Peers for NetworkEnd {
    fn ask<'a>(
        &'a self,
        to: &'a Member,
        question: Bytes,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            let service = {
                let state = self.network.state();
                let reached = !state.cut.contains(&self.node) && !state.cut.contains(&to.name);
                state.services.get(&to.name).filter(|_| reached).cloned()
            };
            let Some(service) = service else { return Err(PeerError::Unreachable(to.name.clone())) };
            self.network.state().asked += 1;
            let answer = tokio::time::timeout(patience, service.answer(question)).await;
            let mut state = self.network.state();
            let lost = state.losses > 0 || state.cut.contains(&self.node) || state.cut.contains(&to.name);
            state.losses = state.losses.saturating_sub(1);
            answer.ok().filter(|_| !lost).ok_or_else(|| PeerError::Lost(to.name.clone()))
        })
    }

    fn talk<'a>(
        &'a self,
        to: &'a Member,
        opening: Bytes,
        said: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'a, Result<mpsc::Receiver<Bytes>, PeerError>> {
        Box::pin(async move {
            let broken = CancellationToken::new();
            let service = {
                let mut state = self.network.state();
                let reached = !state.cut.contains(&self.node) && !state.cut.contains(&to.name);
                state.talks.retain(|(_, broken)| !broken.is_cancelled());
                state.talks.push(([self.node.clone(), to.name.clone()], broken.clone()));
                state.services.get(&to.name).filter(|_| reached).cloned()
            };
            let Some(service) = service else { return Err(PeerError::Unreachable(to.name.clone())) };
            let (says, told) = mpsc::channel(HINTS);
            let (tell, heard) = mpsc::channel(HINTS);
            tokio::spawn(pass(said, tell, broken.clone()));
            tokio::spawn(service.converse(opening, heard, says));
            let (tell, heard) = mpsc::channel(HINTS);
            tokio::spawn(pass(told, tell, broken));
            Ok(heard)
        })
    }
}

/// Passes on what is said until either end is dropped, or the line is cut.
async fn pass(mut said: mpsc::Receiver<Bytes>, tell: mpsc::Sender<Bytes>, broken: CancellationToken) {
    loop {
        let word = tokio::select! {
            word = said.recv() => word,
            () = tell.closed() => return,
            () = broken.cancelled() => return,
        };
        let Some(word) = word else { return };
        if tell.send(word).await.is_err() {
            return;
        }
    }
}

impl Hints for NetworkEnd {
    fn publish(&self, hint: Hint) {
        let mut state = self.network.state();
        if state.cut.contains(&self.node) {
            return;
        }
        let from = Incarnation(Uuid::nil());
        let State { listeners, cut, heard, missed, .. } = &mut *state;
        for (_, listener) in listeners.iter().filter(|(node, _)| **node != self.node && !cut.contains(*node))
        {
            match listener.try_send(Heard::Hint { from, hint: hint.clone() }) {
                Ok(()) => *heard += 1,
                // one that lags looks at the store now and then anyway
                Err(mpsc::error::TrySendError::Full(_)) => *missed += 1,
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
    }

    fn listen(&self) -> mpsc::Receiver<Heard> {
        let (teller, heard) = mpsc::channel(HINTS);
        self.network.state().listeners.insert(self.node.clone(), teller);
        heard
    }

    fn connected(&self) -> bool {
        !self.network.state().cut.contains(&self.node)
    }
}
