//! What is read and written, each a function of a connection. Whatever changes is one statement.

use deadpool_postgres::ClientWrapper;
use flexcore_actors::domain::ids::{EventId, Position};
use flexcore_actors::domain::projection::{Row, View};
use flexcore_actors::ports::read_models::{
    Advance, Advanced, Generation, LeftOut, Progress, Projected, RowPage, RowQuery, row as row_of,
};
use jiff::Timestamp;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::super::value;
use crate::view_sql::{self, Parameter, Select};

/// Read by [`projected`].
const PROJECTION: &str = "view, shape, live_generation, position, last_event, building_generation, \
                          building_shape, building_position, building_last_event, \
                          (select count(*) from projection_parked left_out where left_out.view = projection.view \
                           and left_out.generation = projection.live_generation) as parked";

pub(super) async fn open(db: &ClientWrapper, view: View, shape: u32) -> Result<Projected, Error> {
    let select = db.prepare_cached(&format!("select {PROJECTION} from projection where view = $1")).await?;
    if let Some(row) = db.query_opt(&select, &[&view.as_str()]).await? {
        return projected(&row, view);
    }
    let insert = "insert into projection (view, shape, live_generation, position) values ($1, $2, 1, 0) \
                  on conflict (view) do nothing";
    let insert = db.prepare_cached(insert).await?;
    db.execute(&insert, &[&view.as_str(), &number(shape)]).await?;
    projected(&db.query_one(&select, &[&view.as_str()]).await?, view)
}

pub(super) async fn projections(db: &ClientWrapper) -> Result<Vec<Projected>, Error> {
    let statement = db.prepare_cached(&format!("select {PROJECTION} from projection order by view")).await?;
    let rows = db.query(&statement, &[]).await?;
    let known = rows.iter().filter_map(|row| {
        let name: Result<String, _> = row.try_get("view");
        match name {
            // a view that a later version knows is none of ours
            Ok(name) => View::named(&name).map(|view| projected(row, view)),
            Err(error) => Some(Err(error)),
        }
    });
    known.collect()
}

pub(super) async fn load(
    db: &ClientWrapper,
    view: View,
    generation: Generation,
    keys: &[String],
) -> Result<Vec<Row>, Error> {
    let (columns, table) = (view_sql::columns(view), view.as_str());
    let sql = format!("select {columns} from view_{table} where generation = $1 and key = any($2)");
    let statement = db.prepare_cached(&sql).await?;
    let rows = db.query(&statement, &[&number(generation.0), &keys]).await?;
    rows.iter().map(|r| row(r, view)).collect()
}

/// The position moves, rows are stored and removed, events are parked: all in one statement, or nothing when the position
/// is not where it was.
pub(super) async fn advance(db: &ClientWrapper, advance: &Advance) -> Result<Advanced, Error> {
    let Advance { view, from, position, last_event, upserts, deletes, parked } = advance;
    let statement = db.prepare_cached(&advance_sql(*view)).await?;
    let keys: Vec<&str> = upserts.iter().map(|row| row.key.as_str()).collect();
    let times: Vec<Timestamp> = upserts.iter().map(|row| value::time(row.indexed.at)).collect();
    let tags: Vec<Vec<Option<&str>>> = (0..view.tags().len())
        .map(|n| upserts.iter().map(|row| row.indexed.tags.get(n).and_then(Option::as_deref)).collect())
        .collect();
    let documents: Vec<&[u8]> = upserts.iter().map(|row| &row.document[..]).collect();
    let (name, generation) = (view.as_str(), number(from.generation.0));
    let (before, after) = (value::integer(from.position.0), value::integer(position.0));
    let mut parameters: Vec<&(dyn ToSql + Sync)> =
        vec![&name, &generation, &before, &after, &last_event.0, deletes, &keys, &times];
    parameters.extend(tags.iter().map(|column| column as &(dyn ToSql + Sync)));
    parameters.push(&documents);
    let places: Vec<i64> = parked.iter().map(|event| value::integer(event.position.0)).collect();
    let errors: Vec<&str> = parked.iter().map(|event| event.error.as_str()).collect();
    parameters.push(&places);
    parameters.push(&errors);
    let moved: i64 = db.query_one(&statement, &parameters).await?.try_get(0)?;
    Ok(if moved == 1 { Advanced::Yes } else { Advanced::Superseded })
}

fn advance_sql(view: View) -> String {
    let (table, columns) = (view.as_str(), view_sql::columns(view));
    let set: Vec<String> =
        columns.split(", ").skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
    let tags: String = (0..view.tags().len()).map(|n| format!(", ${}::text[]", n + 9)).collect();
    let documents = view.tags().len() + 9;
    let (places, errors) = (documents + 1, documents + 2);
    let set = set.join(", ");
    format!(
        "with moved as ( \
           update projection set \
             position = case when live_generation = $2 then $4 else position end, \
             last_event = case when live_generation = $2 then $5 else last_event end, \
             building_position = case when building_generation = $2 then $4 else building_position end, \
             building_last_event = case when building_generation = $2 then $5 else building_last_event end \
           where view = $1 and ((live_generation = $2 and position = $3) \
             or (building_generation = $2 and building_position = $3)) returning 1 \
         ), removed as ( \
           delete from view_{table} where generation = $2 and key = any($6::text[]) and exists (select from moved) \
         ), stored as ( \
           insert into view_{table} (generation, {columns}) \
           select $2, u.* from unnest($7::text[], $8::timestamptz[]{tags}, ${documents}::bytea[]) as u \
           where exists (select from moved) \
           on conflict (generation, key) do update set {set} \
         ), parked as ( \
           insert into projection_parked (view, generation, position, error, parked_at) \
           select $1, $2, u.*, now() from unnest(${places}::bigint[], ${errors}::text[]) as u \
           where exists (select from moved) \
         ) select count(*) from moved"
    )
}

pub(super) async fn begin_rebuild(db: &ClientWrapper, view: View, shape: u32) -> Result<Projected, Error> {
    open(db, view, shape).await?;
    let sql = format!(
        "update projection set \
         building_generation = case when building_shape = $2 then building_generation \
           else greatest(live_generation, building_generation) + 1 end, \
         building_position = case when building_shape = $2 then building_position else 0 end, \
         building_last_event = case when building_shape = $2 then building_last_event end, \
         building_shape = $2 where view = $1 returning {PROJECTION}"
    );
    changed(db, &sql, view, shape).await
}

pub(super) async fn reset(db: &ClientWrapper, view: View, shape: u32) -> Result<Projected, Error> {
    open(db, view, shape).await?;
    let sql = format!(
        "update projection set live_generation = greatest(live_generation, building_generation) + 1, shape = $2, \
         position = 0, last_event = null, building_generation = null, building_shape = null, \
         building_position = null, building_last_event = null where view = $1 returning {PROJECTION}"
    );
    changed(db, &sql, view, shape).await
}

pub(super) async fn swap(db: &ClientWrapper, view: View, generation: Generation) -> Result<Advanced, Error> {
    let sql = "update projection set live_generation = building_generation, shape = building_shape, \
               position = building_position, last_event = building_last_event, building_generation = null, \
               building_shape = null, building_position = null, building_last_event = null \
               where view = $1 and building_generation = $2 and building_position >= position";
    let statement = db.prepare_cached(sql).await?;
    let swapped = db.execute(&statement, &[&view.as_str(), &number(generation.0)]).await?;
    Ok(if swapped == 1 { Advanced::Yes } else { Advanced::Superseded })
}

pub(super) async fn sweep(db: &ClientWrapper, view: View, limit: usize) -> Result<usize, Error> {
    let table = view.as_str();
    let sql = format!(
        "delete from view_{table} where ctid = any(array(select r.ctid from view_{table} r, projection p \
         where p.view = $1 and r.generation <> p.live_generation \
         and r.generation is distinct from p.building_generation limit $2))"
    );
    let statement = db.prepare_cached(&sql).await?;
    let rows = removed(db.execute(&statement, &[&table, &value::rows(limit)]).await?);
    let sql = "delete from projection_parked where ctid = any(array(select e.ctid from projection_parked e \
               join projection p on p.view = e.view where e.view = $1 and e.generation <> p.live_generation \
               and e.generation is distinct from p.building_generation limit $2))";
    let statement = db.prepare_cached(sql).await?;
    let left = value::rows(limit.saturating_sub(rows));
    Ok(rows + removed(db.execute(&statement, &[&table, &left]).await?))
}

fn removed(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

pub(super) async fn parked(
    db: &ClientWrapper,
    view: View,
    after: Position,
    limit: usize,
) -> Result<Vec<LeftOut>, Error> {
    let sql = "select e.position, e.error, e.parked_at from projection_parked e \
               join projection p on p.view = e.view and p.live_generation = e.generation \
               where e.view = $1 and e.position > $2 order by e.position limit $3";
    let statement = db.prepare_cached(sql).await?;
    let rows = db.query(&statement, &[&view.as_str(), &value::integer(after.0), &value::rows(limit)]).await?;
    let event = |row: &tokio_postgres::Row| {
        let position = Position(value::counter(row, "position")?);
        Ok(LeftOut { position, error: row.try_get("error")?, parked_at: row.try_get("parked_at")? })
    };
    rows.iter().map(event).collect()
}

pub(super) async fn list(db: &ClientWrapper, query: &RowQuery) -> Result<RowPage, Error> {
    // read first: what the rows reflect is this or later
    let statement = db.prepare_cached("select position from projection where view = $1").await?;
    let position = db.query_opt(&statement, &[&query.view.as_str()]).await?;
    let position = position.map_or(Ok(0), |row| value::counter(&row, "position"))?;
    let rows = select(db, &view_sql::list(query, '$'), query.view).await?;
    Ok(RowPage { rows, position: Position(position) })
}

pub(super) async fn find(db: &ClientWrapper, view: View, key: &str) -> Result<Option<Row>, Error> {
    Ok(select(db, &view_sql::find(view, key, '$'), view).await?.into_iter().next())
}

async fn select(db: &ClientWrapper, select: &Select<'_>, view: View) -> Result<Vec<Row>, Error> {
    // not kept prepared: its text has the limit in it, so there is no end of such texts
    let statement = db.prepare(&select.sql).await?;
    let values: Vec<&(dyn ToSql + Sync)> = select
        .parameters
        .iter()
        .map(|parameter| match parameter {
            Parameter::Text(text) => text as &(dyn ToSql + Sync),
            Parameter::Time(time) => time,
        })
        .collect();
    db.query(&statement, &values).await?.iter().map(|r| row(r, view)).collect()
}

async fn changed(db: &ClientWrapper, sql: &str, view: View, shape: u32) -> Result<Projected, Error> {
    let statement = db.prepare_cached(sql).await?;
    projected(&db.query_one(&statement, &[&view.as_str(), &number(shape)]).await?, view)
}

fn projected(row: &tokio_postgres::Row, view: View) -> Result<Projected, Error> {
    let live = Progress {
        generation: Generation(counted(row, "live_generation")?),
        position: Position(value::counter(row, "position")?),
        last_event: row.try_get::<_, Option<_>>("last_event")?.map(EventId),
    };
    let building = match row.try_get::<_, Option<i32>>("building_generation")? {
        Some(generation) => {
            let progress = Progress {
                generation: Generation(generation.unsigned_abs()),
                position: Position(value::counter(row, "building_position")?),
                last_event: row.try_get::<_, Option<_>>("building_last_event")?.map(EventId),
            };
            Some((progress, counted(row, "building_shape")?))
        }
        None => None,
    };
    let parked = value::counter(row, "parked")?;
    Ok(Projected { view, shape: counted(row, "shape")?, live, building, parked })
}

fn row(row: &tokio_postgres::Row, view: View) -> Result<Row, Error> {
    let tags = view.tags().iter().map(|tag| row.try_get(tag.name)).collect::<Result<_, _>>()?;
    Ok(row_of(row.try_get("key")?, row.try_get("at")?, tags, value::bytes(row, "document")?))
}

fn counted(row: &tokio_postgres::Row, column: &str) -> Result<u32, Error> {
    row.try_get::<_, i32>(column).map(i32::unsigned_abs)
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
