//! What is read and written in one transaction, each a function of a connection. It neither begins nor ends one.

use flexcore_actors::domain::ids::{EventId, Position};
use flexcore_actors::domain::projection::{Parked, Row, View};
use flexcore_actors::ports::batch::whole_micros;
use flexcore_actors::ports::read_models::{
    Advance, Advanced, Generation, LeftOut, Progress, Projected, RowPage, RowQuery, row as row_of,
};
use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, ToSql, Transaction, params, params_from_iter};

use super::super::value;
use crate::view_sql::{self, Parameter, Select};

/// Read by [`projected`].
const PROJECTION: &str = "shape, live_generation, position, last_event, building_generation, building_shape, \
                          building_position, building_last_event, view, \
                          (select count(*) from projection_parked left_out where left_out.view = projection.view \
                           and left_out.generation = projection.live_generation) as parked";

pub(super) fn open(tx: &Transaction<'_>, view: View, shape: u32) -> Result<Projected> {
    tx.prepare_cached(
        "insert into projection (view, shape, live_generation, position) values (?1, ?2, 1, 0) \
         on conflict (view) do nothing",
    )?
    .execute(params![view.as_str(), shape])?;
    read(tx, view)
}

pub(super) fn projections(db: &Connection) -> Result<Vec<Projected>> {
    let mut statement = db.prepare_cached(&format!("select {PROJECTION} from projection order by view"))?;
    let rows = statement.query_map([], |row| {
        let name: String = row.get(8)?;
        // a view that a later version knows is none of ours
        View::named(&name).map(|view| projected(row, view)).transpose()
    })?;
    rows.filter_map(Result::transpose).collect()
}

pub(super) fn load(db: &Connection, view: View, generation: Generation, keys: &[String]) -> Result<Vec<Row>> {
    let (columns, table) = (view_sql::columns(view), view.as_str());
    let sql = format!("select {columns} from view_{table} where generation = ?1 and key = ?2");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = Vec::new();
    for key in keys {
        rows.extend(statement.query_row(params![generation.0, key], |r| row(r, view)).optional()?);
    }
    Ok(rows)
}

pub(super) fn advance(tx: &Transaction<'_>, advance: &Advance) -> Result<Advanced> {
    let Advance { view, from, position, last_event, upserts, deletes, parked } = advance;
    let (to, id) = (value::integer(position.0), last_event.0.as_bytes());
    let mut moved = 0;
    for (generation, place, event) in [
        ("live_generation", "position", "last_event"),
        ("building_generation", "building_position", "building_last_event"),
    ] {
        let sql = format!(
            "update projection set {place} = ?1, {event} = ?2 where view = ?3 and {generation} = ?4 and {place} = ?5"
        );
        let before = value::integer(from.position.0);
        moved +=
            tx.prepare_cached(&sql)?.execute(params![to, id, view.as_str(), from.generation.0, before])?;
    }
    if moved == 0 {
        return Ok(Advanced::Superseded);
    }
    let (columns, table) = (view_sql::columns(*view), view.as_str());
    let names = columns.split(", ").skip(1);
    let set: Vec<String> = names.map(|name| format!("{name} = excluded.{name}")).collect();
    let marks: String = (2..=view.tags().len() + 4).map(|n| format!(", ?{n}")).collect();
    let mut upsert = tx.prepare_cached(&format!(
        "insert into view_{table} (generation, {columns}) values (?1{marks}) \
         on conflict (generation, key) do update set {}",
        set.join(", ")
    ))?;
    for row in upserts {
        let at = whole_micros(row.indexed.at).as_microsecond();
        let mut values: Vec<&dyn ToSql> = vec![&from.generation.0, &row.key, &at];
        values.extend(row.indexed.tags.iter().map(|tag| tag as &dyn ToSql));
        let document: &[u8] = &row.document;
        values.push(&document);
        upsert.execute(&values[..])?;
    }
    let mut delete =
        tx.prepare_cached(&format!("delete from view_{table} where generation = ?1 and key = ?2"))?;
    for key in deletes {
        delete.execute(params![from.generation.0, key])?;
    }
    let mut park = tx.prepare_cached(
        "insert into projection_parked (view, generation, position, error, parked_at) values (?1, ?2, ?3, ?4, ?5)",
    )?;
    let now = whole_micros(Timestamp::now()).as_microsecond();
    for Parked { position, error } in parked {
        park.execute(params![table, from.generation.0, value::integer(position.0), error, now])?;
    }
    Ok(Advanced::Yes)
}

pub(super) fn begin_rebuild(tx: &Transaction<'_>, view: View, shape: u32) -> Result<Projected> {
    open(tx, view, shape)?;
    tx.prepare_cached(
        "update projection set building_generation = max(live_generation, coalesce(building_generation, 0)) + 1, \
         building_shape = ?2, building_position = 0, building_last_event = null \
         where view = ?1 and (building_shape is null or building_shape <> ?2)",
    )?
    .execute(params![view.as_str(), shape])?;
    read(tx, view)
}

pub(super) fn reset(tx: &Transaction<'_>, view: View, shape: u32) -> Result<Projected> {
    open(tx, view, shape)?;
    tx.prepare_cached(
        "update projection set live_generation = max(live_generation, coalesce(building_generation, 0)) + 1, \
         shape = ?2, position = 0, last_event = null, building_generation = null, building_shape = null, \
         building_position = null, building_last_event = null where view = ?1",
    )?
    .execute(params![view.as_str(), shape])?;
    read(tx, view)
}

pub(super) fn swap(tx: &Transaction<'_>, view: View, generation: Generation) -> Result<Advanced> {
    let swapped = tx
        .prepare_cached(
            "update projection set live_generation = building_generation, shape = building_shape, \
             position = building_position, last_event = building_last_event, building_generation = null, \
             building_shape = null, building_position = null, building_last_event = null \
             where view = ?1 and building_generation = ?2 and building_position >= position",
        )?
        .execute(params![view.as_str(), generation.0])?;
    Ok(if swapped == 1 { Advanced::Yes } else { Advanced::Superseded })
}

pub(super) fn sweep(tx: &Transaction<'_>, view: View, limit: usize) -> Result<usize> {
    let table = view.as_str();
    let rows = tx
        .prepare_cached(&format!(
            "delete from view_{table} where rowid in (select r.rowid from view_{table} r, projection p \
         where p.view = ?1 and r.generation <> p.live_generation \
         and (p.building_generation is null or r.generation <> p.building_generation) limit ?2)"
        ))?
        .execute(params![table, value::rows(limit)])?;
    let parked = tx
        .prepare_cached(
            "delete from projection_parked where rowid in (select e.rowid from projection_parked e \
             join projection p on p.view = e.view where e.view = ?1 and e.generation <> p.live_generation \
             and (p.building_generation is null or e.generation <> p.building_generation) limit ?2)",
        )?
        .execute(params![table, value::rows(limit.saturating_sub(rows))])?;
    Ok(rows + parked)
}

pub(super) fn parked(db: &Connection, view: View, after: Position, limit: usize) -> Result<Vec<LeftOut>> {
    let mut statement = db.prepare_cached(
        "select e.position, e.error, e.parked_at from projection_parked e \
         join projection p on p.view = e.view and p.live_generation = e.generation \
         where e.view = ?1 and e.position > ?2 order by e.position limit ?3",
    )?;
    let parameters = params![view.as_str(), value::integer(after.0), value::rows(limit)];
    let event = |row: &rusqlite::Row<'_>| {
        let position = Position(value::counter(row, 0)?);
        Ok(LeftOut { position, error: row.get(1)?, parked_at: value::time(row, 2)? })
    };
    statement.query_map(parameters, event)?.collect()
}

pub(super) fn list(db: &Connection, query: &RowQuery) -> Result<RowPage> {
    // one transaction, so that the rows are of the moment of the position
    let moment = db.unchecked_transaction()?;
    let position = moment
        .prepare_cached("select position from projection where view = ?1")?
        .query_row([query.view.as_str()], |row| value::counter(row, 0))
        .optional()?;
    let rows = select(&moment, &view_sql::list(query, '?'), query.view)?;
    Ok(RowPage { rows, position: Position(position.unwrap_or(0)) })
}

pub(super) fn find(db: &Connection, view: View, key: &str) -> Result<Option<Row>> {
    Ok(select(db, &view_sql::find(view, key, '?'), view)?.into_iter().next())
}

fn select(db: &Connection, select: &Select<'_>, view: View) -> Result<Vec<Row>> {
    // not kept prepared: its text has the limit in it, so there is no end of such texts
    let mut statement = db.prepare(&select.sql)?;
    let values = select.parameters.iter().map(Bound);
    statement.query_map(params_from_iter(values), |r| row(r, view))?.collect()
}

struct Bound<'a>(&'a Parameter<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Parameter::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Parameter::Time(time) => ToSqlOutput::Owned(Value::Integer(time.as_microsecond())),
        })
    }
}

fn read(tx: &Connection, view: View) -> Result<Projected> {
    tx.prepare_cached(&format!("select {PROJECTION} from projection where view = ?1"))?
        .query_row([view.as_str()], |row| projected(row, view))
}

fn projected(row: &rusqlite::Row<'_>, view: View) -> Result<Projected> {
    let event = |column| -> Result<Option<EventId>> { Ok(value::optional_uuid(row, column)?.map(EventId)) };
    let live = Progress {
        generation: Generation(row.get(1)?),
        position: Position(value::counter(row, 2)?),
        last_event: event(3)?,
    };
    let building = match row.get::<_, Option<u32>>(4)? {
        Some(generation) => {
            let position = Position(value::counter(row, 6)?);
            Some((
                Progress { generation: Generation(generation), position, last_event: event(7)? },
                row.get(5)?,
            ))
        }
        None => None,
    };
    Ok(Projected { view, shape: row.get(0)?, live, building, parked: value::counter(row, 9)? })
}

fn row(row: &rusqlite::Row<'_>, view: View) -> Result<Row> {
    let tags = view.tags().len();
    let values = (2..tags + 2).map(|column| row.get(column)).collect::<Result<Vec<Option<String>>>>()?;
    Ok(row_of(row.get(0)?, value::time(row, 1)?, values, value::bytes(row, tags + 2)?))
}
