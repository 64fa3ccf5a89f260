//! `/integrity`: how the log is sealed, and proofs for whoever does not want to believe this node.

use std::time::Duration;

use flexcore_actors::domain::ids::Position;
use http::StatusCode;
use http::header::HeaderName;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::limits::EXECUTE_WAIT;
use super::problem::Problem;
use super::query::Query;
use super::reply::{Answer, Ctx, CtxFilter, json, with_header, with_location};
use super::table::BASE;

/// The routes under `/integrity`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let get = |ctx: &CtxFilter| warp::get().and(ctx.clone());
    let state = warp::path::end().and(get(ctx)).then(state);
    let proof = warp::path!("proof").and(get(ctx)).then(proof);
    let start = warp::path!("verify").and(warp::post()).and(ctx.clone()).then(start_verification);
    let progress = warp::path!("verify").and(get(ctx)).then(verification);
    warp::path("integrity").and(any_of!(state, proof, start, progress)).boxed()
}

async fn state(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.api.integrity().await?)
}

async fn proof(ctx: Ctx) -> Answer {
    match read(&ctx.call.query)? {
        Asked::Inclusion { position, size } => {
            json(StatusCode::OK, &ctx.api.inclusion_proof(position, size).await?)
        }
        Asked::Consistency { from, to } => json(StatusCode::OK, &ctx.api.consistency_proof(from, to).await?),
    }
}

/// Verifies the store and waits for the verdict as long as a request may; a longer verification goes on, and its
/// progress is read from the same address.
async fn start_verification(ctx: Ctx) -> Answer {
    let begun = ctx.api.start_verification(&ctx.call.context()?)?;
    let at_once = ctx.call.prefers_async();
    let view = tokio::select! {
        view = ctx.api.verification(if at_once { Duration::ZERO } else { EXECUTE_WAIT }) => view?,
        () = ctx.call.shutdown.cancelled() => begun,
    };
    let status = if view.state == "running" { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = json(status, &view)?;
    if at_once {
        response = with_header(response, HeaderName::from_static("preference-applied"), "respond-async");
    }
    Ok(with_location(response, &format!("{BASE}/integrity/verify")))
}

async fn verification(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &ctx.api.verification(Duration::ZERO).await?)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Inclusion { position: Position, size: Option<u64> },
    Consistency { from: u64, to: Option<u64> },
}

fn read(query: &Query) -> Result<Asked, Problem> {
    let (position, size) = (query.number("position")?, query.number("size")?);
    let (from, to) = (query.number("from")?, query.number("to")?);
    match (position, size, from, to) {
        (Some(position), size, None, None) => Ok(Asked::Inclusion { position: Position(position), size }),
        (None, None, Some(from), to) => Ok(Asked::Consistency { from, to }),
        _ => Err(Problem::parameter(
            "position",
            "give position, and size if not all that is sealed is meant; or from, and to if not all that is sealed is meant",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_proofs_is_asked_for() {
        let asked = |text| read(&Query::read(Some(text)));
        let inclusion = Asked::Inclusion { position: Position(7), size: Some(9) };
        assert_eq!(asked("position=7&size=9").unwrap(), inclusion);
        assert_eq!(asked("from=1&to=9").unwrap(), Asked::Consistency { from: 1, to: Some(9) });
        assert_eq!(asked("from=1").unwrap(), Asked::Consistency { from: 1, to: None });
        for bad in ["", "size=9", "to=9", "position=7&from=1", "from=1&size=9", "position=x", "from=-1"] {
            assert_eq!(asked(bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
