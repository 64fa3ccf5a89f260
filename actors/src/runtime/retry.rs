//! Patience with the store: what the runtime itself has to record is tried again while the store is away, with a
//! growing pause, until it answers or this node has been superseded.

use std::time::Duration;

use super::aggregate::SubmitError;
use super::services::Services;

/// The first pause.
const INITIAL: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Tries until there is an answer that another try would not change.
pub(super) async fn until_known<T, F>(
    services: &Services,
    what: &str,
    attempt: impl Fn() -> F + Send + Sync,
) -> Result<T, SubmitError>
where
    F: Future<Output = Result<T, SubmitError>> + Send,
{
    let mut pause = INITIAL;
    loop {
        match attempt().await {
            Err(error @ (SubmitError::Unavailable(_) | SubmitError::Overloaded)) => {
                if services.shared.cluster.superseded.is_cancelled() {
                    return Err(error);
                }
                tracing::warn!(what, %error, ?pause, "cannot be recorded now and is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            answer => return answer,
        }
    }
}
