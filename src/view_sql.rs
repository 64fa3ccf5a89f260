//! The statements on the tables of read models (`view_<name>`, `projection`) that every database takes alike, as text
//! with numbered parameters. No connection, and nothing that only one database understands.

use flexcore_actors::domain::projection::{Order, View};
use flexcore_actors::ports::batch::next_micro;
use flexcore_actors::ports::read_models::{Access, RowQuery, access};
use jiff::Timestamp;

/// A parameter of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter<'a> {
    /// A text.
    Text(&'a str),
    /// A time in whole microseconds.
    Time(Timestamp),
}

/// A statement with its parameters, numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Select<'a> {
    /// Its text.
    pub sql: String,
    /// Its parameters.
    pub parameters: Vec<Parameter<'a>>,
    mark: char,
}

/// The columns of a row, in the order in which rows are read and written: key, at, the tags, document.
pub(crate) fn columns(view: View) -> String {
    let tags: String = view.tags().iter().map(|tag| format!(", {}", tag.name)).collect();
    format!("key, at{tags}, document")
}

/// A page of the live generation. `mark` begins a parameter: `$` or `?`.
///
/// Each combination of the index's tags is walked by itself, in order and no further than the limit; the first of all
/// of them are then looked up. So a page costs about as much as its rows, however many there are beside them.
pub(crate) fn list(query: &RowQuery, mark: char) -> Select<'_> {
    let (view, access) = (query.view, access(query));
    let mut select = Select { sql: String::new(), parameters: Vec::new(), mark };
    let live = select.live(view);
    let table = view.as_str();
    let (order, limit) = (order(view), query.limit);
    let mut walks = Vec::new();
    for combination in access.combinations() {
        let conditions = select.conditions(query, &access, &combination);
        walks.push(format!(
            "select * from (select key, at from view_{table} where generation = {live}{conditions} \
             order by {order} limit {limit}) as walk"
        ));
    }
    let walks = walks.join(" union all ");
    let columns =
        columns(view).split(", ").map(|column| format!("v.{column}")).collect::<Vec<_>>().join(", ");
    let v_order = order.replace("at ", "v.at ").replace("key", "v.key");
    select.sql = format!(
        "select {columns} from (select * from ({walks}) as walks order by {order} limit {limit}) as found \
         join view_{table} v on v.generation = {live} and v.key = found.key order by {v_order}"
    );
    select
}

/// One row of the live generation.
pub(crate) fn find(view: View, key: &str, mark: char) -> Select<'_> {
    let mut select = Select { sql: String::new(), parameters: Vec::new(), mark };
    let (live, key) = (select.live(view), select.bind(Parameter::Text(key)));
    let (columns, table) = (columns(view), view.as_str());
    select.sql = format!("select {columns} from view_{table} where generation = {live} and key = {key}");
    select
}

fn order(view: View) -> &'static str {
    match view.order() {
        Order::ByKey => "key",
        Order::NewestFirst => "at desc, key desc",
    }
}

impl<'a> Select<'a> {
    fn bind(&mut self, parameter: Parameter<'a>) -> String {
        // the same value is the same parameter: a word is asked for in many walks
        let known = self.parameters.iter().position(|other| *other == parameter);
        let place = known.unwrap_or_else(|| {
            self.parameters.push(parameter);
            self.parameters.len() - 1
        });
        format!("{}{}", self.mark, place + 1)
    }

    /// The generation as part of the statement, so that rows and generation are of one moment.
    fn live(&mut self, view: View) -> String {
        let view = self.bind(Parameter::Text(view.as_str()));
        format!("(select live_generation from projection where view = {view})")
    }

    fn conditions(
        &mut self,
        query: &'a RowQuery,
        access: &Access<'a>,
        combination: &[(&'static str, &'a str)],
    ) -> String {
        let mut text = String::new();
        for (tag, value) in combination.iter().chain(&access.rest) {
            let value = self.bind(Parameter::Text(value));
            text += &format!(" and {tag} = {value}");
        }
        for (compare, bound) in [(">=", query.from), ("<", query.to)] {
            if let Some(bound) = bound {
                let bound = self.bind(Parameter::Time(next_micro(bound)));
                text += &format!(" and at {compare} {bound}");
            }
        }
        if let Some(after) = &query.after {
            let key = self.bind(Parameter::Text(&after.key));
            text += &match query.view.order() {
                Order::ByKey => format!(" and key > {key}"),
                Order::NewestFirst => {
                    let at = self.bind(Parameter::Time(after.at));
                    format!(" and (at, key) < ({at}, {key})")
                }
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_walks_each_combination_and_binds_each_value_once() {
        let query = RowQuery {
            view: View::Executions,
            tags: vec![("pipeline", "p".to_owned())],
            from: None,
            to: None,
            after: None,
            limit: 7,
        };
        let select = list(&query, '$');
        assert_eq!(select.sql.matches("pipeline = $2").count(), 6, "{}", select.sql);
        assert_eq!(select.parameters.len(), 1 + 1 + 6);
        assert_eq!(select.sql.matches("limit 7").count(), 7);
    }

    #[test]
    fn values_are_never_part_of_the_text() {
        let query = RowQuery {
            view: View::Audit,
            tags: vec![("actor", "'; drop table event".to_owned())],
            from: None,
            to: None,
            after: None,
            limit: 1,
        };
        assert!(!list(&query, '?').sql.contains("drop"));
        assert!(!find(View::Plugins, "'; drop table event", '?').sql.contains("drop"));
    }
}
