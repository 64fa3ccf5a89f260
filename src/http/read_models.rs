//! Read models themselves and the audit log: `/projections`, `/audit`. Other lists stand with their resources.

use flexcore_actors::domain::projection::{OUTCOMES, View};
use flexcore_actors::runtime::api::AuditFilter;
use http::StatusCode;
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::any_of;
use super::body::{Payload, payload};
use super::definitions::action;
use super::problem::Problem;
use super::query::Query;
use super::reply::{Answer, Ctx, CtxFilter, json, with_location};
use super::table::BASE;

/// The routes `/projections` and `/audit`.
pub(super) fn routes(ctx: &CtxFilter) -> BoxedFilter<(Answer,)> {
    let list = warp::path!("projections").and(warp::get()).and(ctx.clone()).then(projections);
    let rebuild =
        warp::path("projections").and(action("rebuild")).and(ctx.clone()).and(payload()).then(rebuild);
    let parked =
        warp::path!("projections" / String / "parked").and(warp::get()).and(ctx.clone()).then(parked);
    let audit = warp::path!("audit").and(warp::get()).and(ctx.clone()).then(audit);
    any_of!(audit, list, parked, rebuild)
}

async fn projections(ctx: Ctx) -> Answer {
    json(StatusCode::OK, &json!({"items": ctx.api.projections(), "next_cursor": null}))
}

async fn rebuild(name: String, ctx: Ctx, body: Payload) -> Answer {
    body.nothing(&ctx.call.headers).await?;
    let view = ctx.api.rebuild(&name).await?;
    Ok(with_location(json(StatusCode::ACCEPTED, &view)?, &format!("{BASE}/projections")))
}

async fn parked(name: String, ctx: Ctx) -> Answer {
    let query = &ctx.call.query;
    if let Some(view) = View::named(&name) {
        ctx.reflected(view).await?;
    }
    json(StatusCode::OK, &ctx.api.left_out(&name, query.after()?, query.limit()?).await?)
}

async fn audit(ctx: Ctx) -> Answer {
    let (filter, page) = (filter(&ctx.call.query)?, ctx.call.query.page()?);
    ctx.reflected(View::Audit).await?;
    json(StatusCode::OK, &ctx.api.audit(filter, page).await?)
}

fn filter(query: &Query) -> Result<AuditFilter, Problem> {
    Ok(AuditFilter {
        actor: query.text("actor").map(str::to_owned),
        outcome: query.word("outcome", OUTCOMES)?.map(str::to_owned),
        from: query.parsed("from")?,
        to: query.parsed("to")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        let given =
            filter(&Query::read(Some("actor=ada&outcome=refused&from=2026-01-01T00:00:00Z"))).unwrap();
        assert_eq!((given.actor.as_deref(), given.outcome.as_deref()), (Some("ada"), Some("refused")));
        for bad in ["outcome=maybe", "from=yesterday", "to="] {
            assert_eq!(filter(&Query::read(Some(bad))).unwrap_err().status(), 400, "{bad}");
        }
    }
}
