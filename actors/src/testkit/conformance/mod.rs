//! The promises of [`EventStore`], one function each, run against every adapter by [`event_store_conformance!`], and
//! those of snapshots, of subscriptions, of secrets, of tokens, and of the store of tiles and checkpoints.
//! Nothing here knows an adapter: what only one of them can do is tested beside it.
//!
//! [`event_store_conformance!`]: crate::event_store_conformance

use std::sync::Arc;

use crate::ports::{BoxFuture, ClusterStore, EventStore};

mod appending;
mod cluster;
mod commands;
mod fencing;
mod integrity;
mod kit;
mod order;
mod random;
mod reading;
mod secrets;
mod snapshots;
mod subscriptions;
mod tokens;

pub use appending::*;
pub use cluster::*;
pub use commands::*;
pub use fencing::*;
pub use integrity::*;
pub use kit::{Writer, own_all, pipeline, plugin};
pub use order::*;
pub use random::{History, random_history};
pub use reading::*;
pub use secrets::*;
pub use snapshots::*;
pub use subscriptions::*;
pub use tokens::*;

/// An event store and who may write to it.
pub trait Store: EventStore + ClusterStore {}

impl<S: EventStore + ClusterStore> Store for S {}

/// An empty store for one test.
pub trait Fixture: Send + Sync + Sized {
    /// Makes the store.
    fn open() -> BoxFuture<'static, Self>;

    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// A handle for another writer on the same data, as another node would have; the same handle where the store
    /// has one writer anyway.
    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(std::future::ready(self.store()))
    }

    /// Removes the store.
    fn close(self) -> BoxFuture<'static, ()>;
}

/// Runs every promise of the event store as a test of its own against the given [`Fixture`].
#[macro_export]
macro_rules! event_store_conformance {
    ($fixture:ty) => {
        $crate::event_store_conformance! { @each $fixture:
            versions_are_contiguous,
            a_conflict_names_the_stream_and_its_version,
            a_guard_checks_without_events,
            a_unit_is_atomic_and_leaves_others_alone,
            an_empty_batch_is_answered_with_nothing,
            a_committed_unit_tells_where_it_is,
            a_repeated_command_gets_its_first_outcome,
            a_command_without_events_is_remembered,
            a_reused_command_id_is_refused,
            a_refused_command_is_not_remembered,
            commands_are_found,
            a_repeated_unit_is_known_by_its_events,
            a_stale_epoch_is_fenced,
            an_unclaimed_shard_is_fenced,
            epochs_only_rise,
            a_fenced_writer_learns_what_it_had_stored,
            a_guard_needs_no_shard,
            the_stream_of_a_nodes_life_needs_no_shard,
            a_live_name_is_taken,
            the_next_life_supersedes_the_former_at_once,
            a_node_without_an_address_lives_alone,
            a_shard_has_one_owner,
            released_shards_are_free_under_a_higher_epoch,
            only_the_silent_are_marked_dead,
            the_dead_stay_dead,
            who_drains_claims_nothing,
            the_revision_tells_of_changes,
            the_view_shows_members_and_owners,
            events_name_the_owner_of_their_shard,
            positions_are_gapless_while_many_write,
            positions_follow_the_order_of_the_batch,
            the_head_rises_to_what_can_be_read,
            a_follower_misses_nothing_while_many_write,
            streams_are_read_in_pages,
            the_log_is_read_in_pages,
            the_log_is_filtered,
            streams_are_listed_in_both_orders,
            wakeups_are_set_moved_and_cleared,
            wakeups_of_refused_units_are_not_set,
            large_payloads_come_back,
            every_field_comes_back,
            stored_hashes_verify,
            the_head_is_the_last_position,
            absurd_bounds_are_no_error,
        }
    };
    (@each $fixture:ty: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let fixture = <$fixture as $crate::testkit::conformance::Fixture>::open().await;
            $crate::testkit::conformance::$promise(&fixture).await;
            $crate::testkit::conformance::Fixture::close(fixture).await;
        }
    )+};
}
