//! Waiting for a condition, with a deadline. Tests never sleep in the hope that something has happened.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Looks with `probe` until it gives `Ok`, and returns what is in it. `Err` means "not yet" and says what was seen.
///
/// # Panics
/// When `deadline` has passed: with what was waited for and the last state seen.
pub async fn wait_for<T, S: Debug>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= end => {
                panic!("{what}: not within {deadline:?}; last seen: {seen:#?}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_what_the_probe_finds_at_last() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(10), async || {
            looks += 1;
            if looks == 3 { Ok("found") } else { Err(looks) }
        });
        assert_eq!(found.await, "found");
    }

    #[tokio::test]
    #[should_panic(expected = "a miracle: not within 1ms; last seen: \"nothing\"")]
    async fn it_fails_with_the_last_state_seen() {
        wait_for("a miracle", Duration::from_millis(1), async || Err::<(), _>("nothing")).await;
    }
}
