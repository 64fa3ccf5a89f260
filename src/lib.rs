//! FlexCore

pub mod sqlite;
