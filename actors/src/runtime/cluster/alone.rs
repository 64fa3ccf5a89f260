//! A cluster of one: nobody to ask, nobody to tell.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::ports::BoxFuture;
use crate::ports::cluster::{Heard, Hint, Hints, Member, PeerError, Peers};

/// Reaches nobody.
pub(super) struct NoPeers;

impl Peers for NoPeers {
    fn ask<'a>(&'a self, to: &'a Member, _: Bytes, _: Duration) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable(to.name.clone())) })
    }

    fn talk<'a>(
        &'a self,
        to: &'a Member,
        _: Bytes,
        _: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'a, Result<mpsc::Receiver<Bytes>, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable(to.name.clone())) })
    }
}

/// Tells and hears nothing.
pub(super) struct NoHints;

impl Hints for NoHints {
    fn publish(&self, _: Hint) {}

    fn listen(&self) -> mpsc::Receiver<Heard> {
        // without a sender it ends at once
        mpsc::channel(1).1
    }

    fn connected(&self) -> bool {
        false
    }
}
