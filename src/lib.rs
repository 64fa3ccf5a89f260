//! The outside of FlexCore: adapters, gateways and the program that puts them together.
//!
//! **Boundary:** adapters (`postgres`, `sqlite`, `sandbox`, `network`, `plugins`, `peers`, `redis`, `logs`, `integrity`,
//! `secrets`) implement the ports of [`flexcore_actors::ports`] and never name one another; gateways (`http`, `cli`) see
//! typed handles only;
//! [`compose`] is the one place that names two of them. `archive` is a file format, not an adapter.

pub mod access;
pub mod archive;
pub mod cli;
pub mod compose;
pub mod config;
mod durable;
pub mod http;
pub mod integrity;
pub mod logs;
pub mod network;
pub mod peers;
pub mod plugins;
pub mod postgres;
pub mod redis;
pub mod sandbox;
pub mod schema;
pub mod secrets;
pub mod sqlite;
pub mod telemetry;
pub mod uptime;
mod view_sql;
pub mod yaml;

/// The allocator of everything that links this crate, so that what is measured is what is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
