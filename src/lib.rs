//! FlexCore

pub mod config;
pub mod telemetry;
pub mod yaml;
