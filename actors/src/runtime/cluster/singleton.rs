//! Work that one node does for the whole cluster: whoever owns the shard of its name, so that it is taken over, given away
//! and fenced as every shard is, and there is no second way of electing. What the work stores is compared with what it was
//! read from besides, so a former holder's last write changes nothing.

use std::sync::Arc;

use super::{Cluster, Shards, Standing};
use crate::domain::ids::Shard;

/// Folds events into the read models: one node for all views, because they share the pages of the log.
pub const PROJECTIONS: &str = "projections";
/// Seals the log.
pub const SEALER: &str = "sealer";

/// All of them.
pub(super) const SINGLETONS: [&str; 2] = [PROJECTIONS, SEALER];

/// One such work, as a node asks whether it is the one.
#[derive(Clone)]
pub struct Singleton {
    shards: Arc<Shards>,
    shard: Shard,
}

impl Singleton {
    /// The work of this name, for a node with these shards.
    #[must_use]
    pub fn new(name: &str, shards: Arc<Shards>) -> Self {
        Self { shards, shard: Shard::of(name) }
    }

    /// Whether it is this node's now.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self.shards.standing(self.shard), Standing::Serving(_))
    }

    /// Returns when it may have come to this node, or have left it.
    pub(in crate::runtime) async fn moved(&self) {
        let was = self.is_here();
        let mut changes = self.shards.changes();
        while self.is_here() == was && changes.changed().await.is_ok() {}
    }
}

impl Cluster {
    /// The work of this name.
    pub(in crate::runtime) fn singleton(&self, name: &str) -> Singleton {
        Singleton::new(name, Arc::clone(&self.shards))
    }
}
