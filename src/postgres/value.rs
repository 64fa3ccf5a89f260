//! Values as PostgreSQL keeps them, converted by hand in both directions. No statements.

use bytes::Bytes;
use flexcore_actors::domain::access::Role;
use flexcore_actors::domain::ids::{Name, StreamId};
use flexcore_actors::domain::secret::SecretName;
use flexcore_actors::ports::batch::whole_micros;
use jiff::Timestamp;
use tokio_postgres::types::{FromSql, Type, accepts};
use tokio_postgres::{Error, Row};

/// The first second of the year 1, in seconds since 1970: PostgreSQL's times do not begin as early as ours.
const YEAR_ONE: i64 = -62_135_596_800;

/// A counter; what is beyond PostgreSQL's integers is beyond everything stored as well.
pub(super) fn integer(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// A limit of rows; see [`integer`].
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A number of things in memory.
pub(super) fn count(length: usize) -> i32 {
    i32::try_from(length).expect("a batch is far smaller")
}

/// A time, to the microsecond.
pub(super) fn time(time: Timestamp) -> Timestamp {
    whole_micros(time).max(Timestamp::from_second(YEAR_ONE).expect("a constant in range"))
}

/// Reads a counter, which the schema never lets below 0.
pub(super) fn counter(row: &Row, column: &str) -> Result<u64, Error> {
    row.try_get::<_, i64>(column).map(i64::unsigned_abs)
}

/// Reads bytes without a copy in between.
pub(super) fn bytes(row: &Row, column: &str) -> Result<Bytes, Error> {
    row.try_get::<_, Raw<Bytes>>(column).map(|raw| raw.0)
}

/// Reads the name of a stream.
pub(super) fn stream(row: &Row, column: &str) -> Result<StreamId, Error> {
    row.try_get::<_, Raw<StreamId>>(column).map(|raw| raw.0)
}

/// Reads a name.
pub(super) fn name(row: &Row, column: &str) -> Result<Name, Error> {
    row.try_get::<_, Raw<Name>>(column).map(|raw| raw.0)
}

/// Reads a SHA-256 digest.
pub(super) fn digest(row: &Row, column: &str) -> Result<[u8; 32], Error> {
    row.try_get::<_, Raw<[u8; 32]>>(column).map(|raw| raw.0)
}

/// Reads bytes of a fixed length.
pub(super) fn fixed<const N: usize>(row: &Row, column: &str) -> Result<[u8; N], Error> {
    row.try_get::<_, Raw<[u8; N]>>(column).map(|raw| raw.0)
}

/// Reads the name of a secret.
pub(super) fn secret_name(row: &Row, column: &str) -> Result<SecretName, Error> {
    row.try_get::<_, Raw<SecretName>>(column).map(|raw| raw.0)
}

/// Reads the name of a role.
pub(super) fn role(row: &Row, column: &str) -> Result<Role, Error> {
    row.try_get::<_, Raw<Role>>(column).map(|raw| raw.0)
}

/// Reads SHA-256 digests that were joined.
pub(super) fn digests(row: &Row, column: &str) -> Result<Vec<[u8; 32]>, Error> {
    row.try_get::<_, Raw<Vec<[u8; 32]>>>(column).map(|raw| raw.0)
}

/// Reads the version of a payload's shape.
pub(super) fn small(row: &Row, column: &str) -> Result<u16, Error> {
    row.try_get::<_, Raw<u16>>(column).map(|raw| raw.0)
}

/// A type of ours or of another crate, so that a value that does not fit is an error that names its column.
struct Raw<T>(T);

type Converted<T> = Result<T, Box<dyn std::error::Error + Sync + Send>>;

impl FromSql<'_> for Raw<Bytes> {
    fn from_sql(_: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(Bytes::copy_from_slice(raw)))
    }

    accepts!(BYTEA);
}

impl<const N: usize> FromSql<'_> for Raw<[u8; N]> {
    fn from_sql(_: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(BYTEA);
}

impl FromSql<'_> for Raw<Vec<[u8; 32]>> {
    fn from_sql(_: &Type, raw: &[u8]) -> Converted<Self> {
        match raw.as_chunks() {
            (digests, []) => Ok(Self(digests.to_vec())),
            _ => Err("not a whole number of digests".into()),
        }
    }

    accepts!(BYTEA);
}

impl FromSql<'_> for Raw<StreamId> {
    fn from_sql(ty: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(<&str>::from_sql(ty, raw)?.parse()?))
    }

    accepts!(TEXT);
}

impl FromSql<'_> for Raw<Name> {
    fn from_sql(ty: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(<&str>::from_sql(ty, raw)?.parse()?))
    }

    accepts!(TEXT);
}

impl FromSql<'_> for Raw<SecretName> {
    fn from_sql(ty: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(<&str>::from_sql(ty, raw)?.parse()?))
    }

    accepts!(TEXT);
}

impl FromSql<'_> for Raw<Role> {
    fn from_sql(ty: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(<&str>::from_sql(ty, raw)?.parse()?))
    }

    accepts!(TEXT);
}

impl FromSql<'_> for Raw<u16> {
    fn from_sql(ty: &Type, raw: &[u8]) -> Converted<Self> {
        Ok(Self(i32::from_sql(ty, raw)?.try_into()?))
    }

    accepts!(INT4);
}
