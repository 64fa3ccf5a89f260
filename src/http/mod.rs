//! The HTTP gateway: turns requests into calls of [`Api`] and its answers into JSON. It knows the contract of paths,
//! headers and errors, and nothing of actors, stores or programs.
//!
//! A request passes `service.rs` (correlation, guard, table, time, figures), then the filters of its resource, whose
//! handlers are the files named after them. [`ROUTES`] lists every route; [`serve`] accepts connections.
//!
//! **Boundary:** no other adapter is named here, and the only thing held of the node is its [`Api`].

mod body;
mod call;
mod commands;
mod definitions;
mod events;
mod executions;
mod export;
mod guard;
mod inspect;
mod integrity;
mod limits;
mod logs;
mod metrics;
mod node;
mod patience;
mod pipelines;
mod plugins;
mod problem;
mod queries;
mod query;
mod read_models;
mod reply;
mod server;
mod service;
mod stream;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

pub use limits::{HEADER_TIMEOUT, MAX_CONNECTIONS, REQUEST_TIMEOUT, SHUTDOWN_GRACE, WRITE_TIMEOUT};
pub use server::{Config, ServeError, bind, serve};
pub use table::{BASE, ROUTES, Route};

#[cfg(doc)]
use flexcore_actors::runtime::api::Api;

/// The first of several filters that matches, boxed.
macro_rules! any_of {
    ($first:expr $(, $rest:expr)* $(,)?) => { $first$(.or($rest).unify())*.boxed() };
}
use any_of;
