//! The private Redis of the test command: one server for all tests, told apart by their key prefixes.

use crate::given_by_the_test_command;

/// The server's URL, with its password.
///
/// # Panics
/// Outside the test command.
#[track_caller]
pub fn redis_url() -> String {
    given_by_the_test_command("FLEXCORE_TEST_REDIS_URL")
}

/// A prefix for keys and channels that no other test uses.
pub fn redis_prefix() -> String {
    format!("fc-{}:", uuid::Uuid::now_v7().simple())
}
