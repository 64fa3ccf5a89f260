//! FlexCore

mod launching;
pub mod plugins;
pub mod sandbox;
