//! The way of a request: which node to go to now, and how long to wait when nobody can be gone to. Never in here: what a
//! request is.

use std::time::Instant;

use tokio::sync::watch;

use super::shards::Standing;
use super::{Cluster, owner_of};
use crate::domain::ids::Shard;
use crate::limits::ROUTE_PATIENCE;
use crate::ports::cluster::Member;

/// How long to wait at most before looking again, though no change was heard of.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// Where a request goes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runtime) enum Route {
    /// This node serves it.
    Here,
    /// Another does.
    There(Member),
    /// Nobody does now: the shard has no owner, is on its way, or this node's guard has ended.
    Nowhere,
}

impl Cluster {
    /// Where a request for a shard goes now.
    pub(in crate::runtime) fn route(&self, shard: Shard) -> Route {
        match self.shards.standing(shard) {
            Standing::Serving(_) => Route::Here,
            Standing::Unsure | Standing::Leaving(_) => Route::Nowhere,
            Standing::Elsewhere => {
                let view = self.view.borrow();
                let other = owner_of(&view, shard).filter(|member| member.incarnation != self.incarnation);
                other.cloned().map_or(Route::Nowhere, Route::There)
            }
        }
    }

    /// Sets out with a request.
    pub(in crate::runtime) fn journey(&self) -> Journey<'_> {
        Journey { cluster: self, changes: self.shards.changes(), began: None }
    }
}

/// A request on its way, with its patience.
pub(in crate::runtime) struct Journey<'a> {
    cluster: &'a Cluster,
    changes: watch::Receiver<u64>,
    /// When it was first in vain.
    began: Option<Instant>,
}

impl Journey<'_> {
    /// Waits for something to change after a try in vain; false when the patience is at its end.
    pub(in crate::runtime) async fn goes_on(&mut self) -> bool {
        let began = *self.began.get_or_insert_with(Instant::now);
        if began.elapsed() >= ROUTE_PATIENCE || self.cluster.superseded.is_cancelled() {
            return false;
        }
        self.cluster.look();
        tokio::select! {
            _ = self.changes.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = self.cluster.superseded.cancelled() => {}
        }
        true
    }
}
