//! FlexCore

pub mod plugins;
