//! FlexCore

pub mod plugins;
pub mod sandbox;
