//! FlexCore

pub mod yaml;
