//! The runtime: supervised actors around the pure domain, and the one way in and out for gateways ([`api`]).
//!
//! ```text
//! api → directory → aggregate actor → committer → store
//!                        ↑ watch
//!                     runner → worker → plugin host
//! store → projector → read models → api
//! ```
//!
//! Aggregates decide and record; runners act; durable subscriptions carry reactions from one aggregate to another. No aggregate awaits another inside its handler.

mod admission;
pub mod aggregate;
pub mod api;
pub mod audit;
pub mod audit_beside;
mod bookmark;
mod calls;
pub mod cluster;
pub mod committer;
mod completion;
mod follow;
pub mod inspect;
pub mod integrity;
mod live;
pub mod node;
pub mod projector;
mod recovery;
mod restart;
mod retry;
mod runner;
mod services;
pub mod subscription;
pub mod supervisor;
pub mod views;
mod worker;
