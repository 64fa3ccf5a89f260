//! Inspection without messages: each actor shares a [`Probe`] of atomics, and whoever wants to look reads them. A
//! stuck actor can be seen, never waited for.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dashmap::DashMap;

use super::views::ActorView;
use crate::domain::ids::Version;

/// The life of an actor as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Being spawned.
    Starting,
    /// Alive.
    Running,
    /// Failed; waits to be started again.
    BackingOff,
    /// Failed too often; an operator has to release it.
    Quarantined,
    /// Gone.
    Stopped,
}

impl Life {
    const ALL: [Self; 5] =
        [Self::Starting, Self::Running, Self::BackingOff, Self::Quarantined, Self::Stopped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::Quarantined => "quarantined",
            Self::Stopped => "stopped",
        }
    }
}

/// What can be seen of one actor.
#[derive(Debug)]
pub struct Probe {
    id: String,
    serial: u64,
    kind: &'static str,
    parent: Option<String>,
    began: Instant,
    life: AtomicU8,
    enqueued: AtomicU64,
    handled: AtomicU64,
    /// Milliseconds after `began`, plus one; 0 is idle.
    busy_since: AtomicU64,
    /// Milliseconds after `began`.
    last_used: AtomicU64,
    restarts: AtomicU64,
    version: AtomicU64,
    epoch: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Probe {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The actor's id within the node: a stream's name for aggregates.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A number of this actor alone: a later one with the same id has another.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// A message was sent to the actor.
    pub fn enqueued(&self) {
        self.enqueued.fetch_add(1, Relaxed);
        self.last_used.store(self.elapsed_ms(), Relaxed);
    }

    /// The actor began with a message; it is busy until the guard is dropped.
    #[must_use]
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy_since.store(self.elapsed_ms() + 1, Relaxed);
        Busy(Arc::clone(self))
    }

    /// The actor's life changed.
    pub fn set_life(&self, life: Life) {
        self.life.store(life as u8, Relaxed);
    }

    /// The actor's life.
    #[must_use]
    pub fn life(&self) -> Life {
        Life::ALL[usize::from(self.life.load(Relaxed)).min(Life::ALL.len() - 1)]
    }

    /// The actor failed: what was waiting in its mailbox is gone with it.
    pub fn failed(&self, error: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
        self.handled.store(self.enqueued.load(Relaxed), Relaxed);
        self.busy_since.store(0, Relaxed);
    }

    /// Why it last failed.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The version an aggregate reached and the epoch it writes under.
    pub fn set_version(&self, version: Version, epoch: u64) {
        self.version.store(version.0, Relaxed);
        self.epoch.store(epoch, Relaxed);
    }

    /// Milliseconds since anyone sent it something.
    #[must_use]
    pub fn idle_ms(&self) -> u64 {
        self.elapsed_ms().saturating_sub(self.last_used.load(Relaxed))
    }

    /// How often it was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Messages waiting.
    #[must_use]
    pub fn mailbox(&self) -> u64 {
        // read in this order a message that is handled in between makes the figure smaller, never negative
        let handled = self.handled.load(Relaxed);
        self.enqueued.load(Relaxed).saturating_sub(handled)
    }

    fn view(&self, node: &str) -> ActorView {
        let busy_since = self.busy_since.load(Relaxed);
        let epoch = self.epoch.load(Relaxed);
        ActorView {
            id: self.id.clone(),
            kind: self.kind,
            state: self.life().as_str(),
            mailbox: self.mailbox(),
            busy_ms: if busy_since == 0 { 0 } else { (self.elapsed_ms() + 1).saturating_sub(busy_since) },
            handled: self.handled.load(Relaxed),
            restarts: self.restarts(),
            last_error: self.last_error(),
            version: (epoch > 0).then(|| Version(self.version.load(Relaxed))),
            epoch: (epoch > 0).then_some(epoch),
            node: node.to_owned(),
            children: Vec::new(),
        }
    }
}

/// Marks an actor as busy with one message.
#[derive(Debug)]
pub struct Busy(Arc<Probe>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.handled.fetch_add(1, Relaxed);
        self.0.busy_since.store(0, Relaxed);
    }
}

/// The probes of all actors of a node.
#[derive(Debug, Clone)]
pub struct Inspector {
    node: Arc<str>,
    serials: Arc<AtomicU64>,
    restarts: Arc<AtomicU64>,
    probes: Arc<DashMap<String, Arc<Probe>>>,
}

impl Inspector {
    /// An empty registry of the node `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self { node: node.into(), serials: Arc::default(), restarts: Arc::default(), probes: Arc::default() }
    }

    /// Registers an actor; one that was registered under the same id before is no longer shown.
    #[must_use]
    pub fn register(&self, id: &str, kind: &'static str, parent: Option<&str>) -> Arc<Probe> {
        let probe = Arc::new(Probe {
            id: id.to_owned(),
            serial: self.serials.fetch_add(1, Relaxed),
            kind,
            parent: parent.map(str::to_owned),
            began: Instant::now(),
            life: AtomicU8::new(Life::Starting as u8),
            enqueued: AtomicU64::default(),
            handled: AtomicU64::default(),
            busy_since: AtomicU64::default(),
            last_used: AtomicU64::default(),
            restarts: AtomicU64::default(),
            version: AtomicU64::default(),
            epoch: AtomicU64::default(),
            last_error: Mutex::default(),
        });
        self.probes.insert(id.to_owned(), Arc::clone(&probe));
        probe
    }

    /// Forgets an actor that is gone for good.
    pub fn forget(&self, probe: &Probe) {
        self.probes.remove_if(&probe.id, |_, shown| shown.serial == probe.serial);
    }

    /// An actor was started again.
    pub fn count_restart(&self, probe: &Probe) {
        probe.restarts.fetch_add(1, Relaxed);
        self.restarts.fetch_add(1, Relaxed);
    }

    /// How many actors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probes.is_empty()
    }

    /// How often actors were started again, all together.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// One actor.
    #[must_use]
    pub fn one(&self, id: &str) -> Option<ActorView> {
        self.probes.get(id).map(|probe| probe.view(&self.node))
    }

    /// All actors as a tree below `root`, children by id.
    #[must_use]
    pub fn tree(&self, root: &str) -> Option<ActorView> {
        let mut children: std::collections::BTreeMap<String, Vec<ActorView>> =
            std::collections::BTreeMap::new();
        for probe in self.probes.iter() {
            let parent = probe.parent.clone().unwrap_or_default();
            children.entry(parent).or_default().push(probe.view(&self.node));
        }
        let mut tree = self.one(root)?;
        attach(&mut tree, &mut children);
        Some(tree)
    }
}

fn attach(view: &mut ActorView, children: &mut std::collections::BTreeMap<String, Vec<ActorView>>) {
    view.children = children.remove(&view.id).unwrap_or_default();
    view.children.sort_by(|a, b| a.id.cmp(&b.id));
    view.children.iter_mut().for_each(|child| attach(child, children));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mailbox_is_a_subtraction() {
        let inspector = Inspector::new("n1");
        let probe = inspector.register("root", "supervisor", None);
        let child = inspector.register("pipeline-a", "pipeline", Some("root"));
        child.enqueued();
        child.enqueued();
        drop(child.busy());
        assert_eq!((child.mailbox(), probe.mailbox()), (1, 0));
        child.failed("boom");
        let tree = inspector.tree("root").unwrap();
        assert_eq!(tree.children[0].mailbox, 0);
        assert_eq!(tree.children[0].last_error.as_deref(), Some("boom"));
    }
}
