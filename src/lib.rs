//! FlexCore

pub mod postgres;
pub mod sqlite;
