//! Migrations: a store that grew version by version, with data in it, is equal to a fresh one; what must not be used is
//! refused by name; nodes that start together take turns. Every migration that is added is covered by being there.
//!
//! `data/` holds, for a version, rows as a node of that version left them: `V1.postgres.sql` is inserted when V1 is the
//! newest migration. A migration that changes what is stored brings such a file for the version before it, if there is none.

mod postgres;
mod sqlite;

use std::collections::BTreeSet;
use std::path::Path;

use flexcore::schema::Unfit;
use flexcore_actors::ports::event_store::StoreError;

/// What a schema consists of, one line a thing, so that a difference is one line too.
type Catalogue = BTreeSet<String>;

/// The rows that a node of a version left, when the version has a file.
fn data(version: i32, store: &str) -> Option<String> {
    let name = format!("tests/conformance/migrations/data/V{version}.{store}.sql");
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).ok()
}

/// # Panics
/// With the lines that only one of two catalogues has.
fn assert_equal(grown: &Catalogue, fresh: &Catalogue) {
    let only_grown: Vec<&String> = grown.difference(fresh).collect();
    let only_fresh: Vec<&String> = fresh.difference(grown).collect();
    assert!(
        only_grown.is_empty() && only_fresh.is_empty(),
        "the schemas differ; only after one migration at a time: {only_grown:#?}; only in a fresh store: {only_fresh:#?}"
    );
}

/// # Panics
/// If a store was refused for another reason, or one that may pass.
fn assert_refused(error: StoreError, why: &str) {
    let StoreError::Failed { source, .. } = error else { panic!("{error:?}") };
    let unfit = source.downcast_ref::<Unfit>().unwrap_or_else(|| panic!("{source:?}"));
    assert!(unfit.to_string().contains(why), "{unfit}");
}
