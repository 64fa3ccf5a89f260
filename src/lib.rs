//! FlexCore

mod launching;
pub mod logs;
pub mod plugins;
pub mod sandbox;
