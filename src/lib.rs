//! FlexCore

pub mod cli;
pub mod compose;
pub mod config;
pub mod telemetry;
pub mod yaml;
