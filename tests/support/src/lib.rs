//! What the integration tests share: a database of their own, a real node in a process of its own, a client for it,
//! and waiting for a condition with a deadline.
//!
//! It never links FlexCore: a test sees the product as a user does, through its programs and its HTTP interface.
//! Everything here panics with the whole story instead of returning an error: a test can only fail.

mod client;
mod node;
mod postgres;
mod postgres_proxy;
mod redis;
mod relay;
mod wait;

pub use client::{Client, Reply};
pub use node::{Node, NodeBuilder};
pub use postgres::TestDatabase;
pub use postgres_proxy::PostgresProxy;
pub use redis::{PrivateRedis, redis_prefix, redis_url};
pub use relay::{Line, Relay};
pub use wait::wait_for;

/// An environment variable that the test command sets.
///
/// # Panics
/// If it is missing: a test without its service fails, it is never skipped.
#[track_caller]
fn given_by_the_test_command(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run: cargo xtask test (or: cargo xtask services -- cargo test NAME)")
    })
}
