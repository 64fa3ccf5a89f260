//! Query parameters, read strictly: an unknown, repeated or unreadable one is refused and named, because a filter
//! that is silently ignored gives a wrong answer that looks right.

use std::fmt::Display;
use std::str::FromStr;

use flexcore_actors::domain::ids::{Position, Version};
use flexcore_actors::domain::problem::Problems;
use flexcore_actors::domain::reader::{kind_of, nearest};
use flexcore_actors::runtime::api::{At, PageRequest};
use jiff::Timestamp;

use serde_json::Value;

use super::limits::{DEFAULT_PAGE, MAX_CURSOR, MAX_PAGE};
use super::problem::Problem;

/// The parameters of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the text after the question mark.
    pub(super) fn read(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
    }

    /// Takes the fields of an object as if they had stood in a query; `null` counts as absent.
    pub(super) fn of(fields: &Value) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for (key, value) in fields.as_object().into_iter().flatten() {
            match value {
                Value::Null => {}
                Value::String(text) => pairs.push((key.clone(), text.clone())),
                Value::Number(number) => pairs.push((key.clone(), number.to_string())),
                other => {
                    let message = format!("expected a text or a number, found {}", kind_of(other));
                    return Err(Problem::parameter(key, message));
                }
            }
        }
        Ok(Self(pairs))
    }

    /// Refuses parameters that the route does not take, and repeated ones; all at once.
    pub(super) fn check(&self, known: &'static [&'static str]) -> Result<(), Problem> {
        let mut problems = Problems::default();
        for (n, (key, _)) in self.0.iter().enumerate() {
            let shown: String = key.chars().take(MAX_SHOWN).collect();
            if !known.contains(&key.as_str()) {
                let hint = match nearest(&shown, known) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None if known.is_empty() => "this route takes none".to_owned(),
                    None => format!("this route takes {}", known.join(", ")),
                };
                problems.add(&shown, format!("unknown query parameter {shown:?}; {hint}"));
            } else if self.0[..n].iter().any(|(earlier, _)| earlier == key) {
                problems.add(&shown, format!("{shown} is given twice: give it once"));
            }
        }
        problems.into_result(()).map_err(Problem::malformed)
    }

    /// A parameter's text; an empty one is given too.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of a type that reads itself; its error says what is accepted.
    pub(super) fn parsed<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        let read =
            |text: &str| text.parse().map_err(|error: T::Err| Problem::parameter(name, error.to_string()));
        self.text(name).map(read).transpose()
    }

    /// One word of a closed set.
    pub(super) fn word(&self, name: &str, words: &[&str]) -> Result<Option<&str>, Problem> {
        match self.text(name) {
            Some(text) if !words.contains(&text) => {
                let shown: String = text.chars().take(MAX_SHOWN).collect();
                Err(Problem::parameter(name, format!("{shown:?} is not one of {}", words.join(", "))))
            }
            found => Ok(found),
        }
    }

    /// `true` or `false`; absent is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.word(name, &["true", "false"])? == Some("true"))
    }

    /// A whole number from `0`.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let read = |text: &str| {
            text.parse().map_err(|_| Problem::parameter(name, format!("{name} is a whole number from 0")))
        };
        self.text(name).map(read).transpose()
    }

    /// `limit`: how many items at most.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(DEFAULT_PAGE) };
        let limit = text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n));
        limit.ok_or_else(|| {
            Problem::parameter("limit", format!("limit is a whole number from 1 to {MAX_PAGE}"))
        })
    }

    /// `limit` and `cursor`.
    pub(super) fn page(&self) -> Result<PageRequest, Problem> {
        let cursor = self.text("cursor");
        if cursor.is_some_and(|cursor| cursor.is_empty() || cursor.len() > MAX_CURSOR) {
            return Err(Problem::parameter("cursor", "cursor is the next_cursor of the page before"));
        }
        Ok(PageRequest { cursor: cursor.map(str::to_owned), limit: self.limit()? })
    }

    /// `min_position`: what the list has to reflect at least.
    pub(super) fn min_position(&self) -> Result<Position, Problem> {
        Ok(Position(self.number("min_position")?.unwrap_or_default()))
    }

    /// `at_version` or `at`: the moment of the past that is asked for; `None` is now.
    pub(super) fn at(&self) -> Result<Option<At>, Problem> {
        match (self.number("at_version")?, self.parsed::<Timestamp>("at")?) {
            (Some(_), Some(_)) => {
                Err(Problem::parameter("at", "at and at_version both name a moment: give one of them"))
            }
            (version, time) => {
                Ok(version.map(|version| At::Version(Version(version))).or(time.map(At::Time)))
            }
        }
    }

    /// Where a list of events begins: `after`, or the `cursor` of the page before, which is the same.
    pub(super) fn after(&self) -> Result<Position, Problem> {
        match (self.number("after")?, self.number("cursor")?) {
            (Some(_), Some(_)) => {
                Err(Problem::parameter("after", "after and cursor mean the same here: give one of them"))
            }
            (after, cursor) => Ok(Position(after.or(cursor).unwrap_or_default())),
        }
    }
}

/// Characters of a refused text that are shown back.
const MAX_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::read(Some(text))
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        let problem = result.unwrap_err();
        assert_eq!(problem.status(), 400);
        format!("{problem:?}")
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let text = refusal(query("limt=3&x=1&cursor=a&cursor=b").check(&["limit", "cursor"]));
        for part in ["did you mean \\\"limit\\\"?", "this route takes limit, cursor", "cursor is given twice"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(refusal(query("a=1").check(&[])).contains("takes none"));
        query("limit=3").check(&["limit"]).unwrap();
        Query::read(None).check(&[]).unwrap();
    }

    #[test]
    fn pages_are_bounded() {
        let page = Query::read(None).page().unwrap();
        assert_eq!(page, PageRequest { cursor: None, limit: 100 });
        let page = query("limit=1000&cursor=a%2Fb+c").page().unwrap();
        assert_eq!(page, PageRequest { cursor: Some("a/b c".to_owned()), limit: 1000 });
        for bad in ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "cursor="] {
            refusal(query(bad).page());
        }
        refusal(query(&format!("cursor={}", "x".repeat(600))).page());
    }

    #[test]
    fn values_are_read_or_refused_by_name() {
        assert!(query("follow=true").flag("follow").unwrap());
        assert!(!query("").flag("follow").unwrap());
        assert!(refusal(query("follow=yes").flag("follow")).contains("true, false"));
        assert!(refusal(query("after=x").after()).contains("after"));
        assert_eq!(query("cursor=7").after().unwrap(), Position(7));
        refusal(query("cursor=7&after=7").after());
        assert_eq!(query("min_position=9").min_position().unwrap(), Position(9));
        assert_eq!(query("at_version=3").at().unwrap(), Some(At::Version(Version(3))));
        assert_eq!(
            query("at=1970-01-01T01:00:00%2B01:00").at().unwrap(),
            Some(At::Time(Timestamp::UNIX_EPOCH))
        );
        assert_eq!(query("").at().unwrap(), None);
        for bad in ["at=yesterday", "at=2026-01-01", "at_version=-1", "at=1970-01-01T00:00:00Z&at_version=1"]
        {
            refusal(query(bad).at());
        }
        let time = query("from=2026-01-02T03:04:05Z").parsed::<Timestamp>("from").unwrap();
        assert_eq!(time.unwrap().to_string(), "2026-01-02T03:04:05Z");
        assert!(refusal(query("from=now").parsed::<Timestamp>("from")).contains("from"));
    }
}
