//! What a store's history of migrations says beside the migrations that this program knows: what is applied, what is
//! pending, and what speaks against using the store. Never in here: a database, a statement, the application of a
//! migration.

use jiff::Timestamp;

/// A migration that a store has recorded as applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number: 1, 2, 3 …
    pub version: u32,
    /// Its name, such as `event_store`.
    pub name: String,
    /// When it was applied.
    pub at: Timestamp,
    /// The checksum over version, name and statements, as text.
    pub checksum: String,
}

/// One migration, as the store and this program see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number: 1, 2, 3 …
    pub version: u32,
    /// Its name, as the store has it, else as this program does.
    pub name: String,
    /// How both stand to it.
    pub state: State,
    /// When the store applied it.
    pub applied_at: Option<Timestamp>,
}

/// How a store and this program stand to a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The store has it.
    Applied,
    /// This program would apply it.
    Pending,
    /// The store applied it with other statements than this program has.
    Changed,
    /// The store applied it and this program does not know it: a newer FlexCore was here.
    Newer,
    /// The store has later ones but not this one.
    LeftOut,
}

impl State {
    /// The word that people and programs are shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Changed => "changed",
            Self::Newer => "newer",
            Self::LeftOut => "left_out",
        }
    }
}

/// Why this program must not use a store. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A newer FlexCore migrated it.
    #[error(
        "the store is newer than this flexcore: it has migration {0}, which this version does not know; \
         use the flexcore that migrated it, or a newer one"
    )]
    Newer(String),
    /// Its history is not this program's.
    #[error(
        "migration {0} was changed after it was applied to this store; use the flexcore that migrated it, \
         or restore the migration's statements"
    )]
    Changed(String),
    /// It has later migrations than one that it lacks.
    #[error(
        "the store lacks migration {0} and has later ones; use the flexcore that migrated it, or restore a backup"
    )]
    LeftOut(String),
    /// It lacks a migration, and is only to be read.
    #[error("the store lacks migration {0}; apply it with: flexcore migrate")]
    Pending(String),
}

/// Compares a store's history with the known migrations; the answer is in the order of their versions.
#[must_use]
pub fn compare(known: &[refinery::Migration], applied: &[Applied]) -> Vec<Migration> {
    let newest_applied = applied.iter().map(|migration| migration.version).max().unwrap_or(0);
    let mut all: Vec<Migration> = applied
        .iter()
        .map(|applied| {
            let state = match known.iter().find(|known| version(known) == applied.version) {
                None => State::Newer,
                Some(known) if same(known, applied) => State::Applied,
                Some(_) => State::Changed,
            };
            let (version, name) = (applied.version, applied.name.clone());
            Migration { version, name, state, applied_at: Some(applied.at) }
        })
        .collect();
    for known in known {
        let version = version(known);
        if applied.iter().all(|applied| applied.version != version) {
            let state = if version < newest_applied { State::LeftOut } else { State::Pending };
            all.push(Migration { version, name: known.name().to_owned(), state, applied_at: None });
        }
    }
    all.sort_by_key(|migration| migration.version);
    all
}

/// Whether this program may use the store, now or after the pending migrations.
///
/// # Errors
/// With the first migration that speaks against it.
pub fn check(migrations: &[Migration]) -> Result<(), Unfit> {
    for migration in migrations {
        let label = format!("V{} {}", migration.version, migration.name);
        match migration.state {
            State::Applied | State::Pending => {}
            State::Changed => return Err(Unfit::Changed(label)),
            State::Newer => return Err(Unfit::Newer(label)),
            State::LeftOut => return Err(Unfit::LeftOut(label)),
        }
    }
    Ok(())
}

/// Whether this program may use the store as it is, without migrating it.
///
/// # Errors
/// With the first migration that speaks against it.
pub fn check_current(migrations: &[Migration]) -> Result<(), Unfit> {
    check(migrations)?;
    match migrations.iter().find(|migration| migration.state == State::Pending) {
        Some(pending) => Err(Unfit::Pending(format!("V{} {}", pending.version, pending.name))),
        None => Ok(()),
    }
}

fn version(migration: &refinery::Migration) -> u32 {
    u32::try_from(migration.version()).expect("migrations are numbered from 1")
}

fn same(known: &refinery::Migration, applied: &Applied) -> bool {
    known.name() == applied.name && known.checksum().to_string() == applied.checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> Vec<refinery::Migration> {
        let all = names.iter().enumerate();
        all.map(|(n, name)| {
            refinery::Migration::unapplied(&format!("V{}__{name}", n + 1), &format!("-- {name}")).unwrap()
        })
        .collect()
    }

    fn applied(migrations: &[refinery::Migration]) -> Vec<Applied> {
        let row = |known: &refinery::Migration| Applied {
            version: version(known),
            name: known.name().to_owned(),
            at: Timestamp::UNIX_EPOCH,
            checksum: known.checksum().to_string(),
        };
        migrations.iter().map(row).collect()
    }

    fn states(known: &[refinery::Migration], applied: &[Applied]) -> Vec<State> {
        compare(known, applied).iter().map(|migration| migration.state).collect()
    }

    #[test]
    fn what_is_not_applied_is_pending() {
        let known = known(&["one", "two", "three"]);
        assert_eq!(states(&known, &[]), [State::Pending; 3]);
        let some = applied(&known[..2]);
        assert_eq!(states(&known, &some), [State::Applied, State::Applied, State::Pending]);
        assert_eq!(check(&compare(&known, &some)), Ok(()));
        assert_eq!(states(&known, &applied(&known)), [State::Applied; 3]);
    }

    #[test]
    fn what_speaks_against_the_store_is_named() {
        let all = known(&["one", "two", "three"]);
        let refused =
            |known: &[refinery::Migration], applied: &[Applied]| check(&compare(known, applied)).unwrap_err();
        assert_eq!(refused(&all[..2], &applied(&all)), Unfit::Newer("V3 three".to_owned()));

        let mut changed = applied(&all);
        changed[1].checksum = "1".to_owned();
        assert_eq!(refused(&all, &changed), Unfit::Changed("V2 two".to_owned()));
        let mut renamed = applied(&all);
        renamed[0].name = "uno".to_owned();
        assert_eq!(refused(&all, &renamed), Unfit::Changed("V1 uno".to_owned()));

        let mut gap = applied(&all);
        gap.remove(1);
        assert_eq!(refused(&all, &gap), Unfit::LeftOut("V2 two".to_owned()));
    }
}
