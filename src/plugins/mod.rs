//! The plugin host.

mod limits;
pub mod relay;
