//! What `list`, `show` and the changing commands of pipelines, plugins and executions have in common. Never in here: the
//! columns and labels of one of them.

use http::Method;
use serde_json::Value;

use super::args_resources::{ListArgs, ShowArgs};
use super::client::{Client, escaped};
use super::failure::Failure;
use super::human::field;
use super::lists::{items, read_list, write_list};
use super::moment;
use super::output::{Format, Terminal, tone_of};
use super::table::Table;

/// A kind of thing that a node has many of.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// What one is called, for people.
    pub kind: &'static str,
    /// Where they are.
    pub path: &'static str,
}

impl Resource {
    /// Lists them: the node's answer as JSON, else a table with one row each.
    ///
    /// # Errors
    /// What the node refuses.
    pub async fn list<const N: usize>(
        self,
        (client, terminal): (&Client, &mut Terminal),
        filters: &[(&str, Option<&str>)],
        args: ListArgs,
        headings: [&'static str; N],
        row: impl Fn(&Value) -> [String; N],
    ) -> Result<(), Failure> {
        let answer = read_list(client, self.path, filters, None, args.limit).await?;
        if args.output.output == Format::Json {
            return terminal.json(&answer);
        }
        let mut table = Table::new(&headings);
        for item in items(&answer) {
            table.row(row(item));
        }
        write_list(terminal, &answer, &table)
    }

    /// One of them, now or at the moment asked for; `None` when it is written already, as JSON.
    ///
    /// # Errors
    /// What the node refuses.
    pub async fn one(
        self,
        client: &Client,
        terminal: &mut Terminal,
        args: &ShowArgs,
    ) -> Result<Option<Value>, Failure> {
        let answer = client.get(&moment::path(self.path, args)).await?;
        match args.output.output {
            Format::Json => terminal.json(&answer).map(|()| None),
            Format::Table => Ok(Some(answer)),
        }
    }

    /// Changes one of them, and says in which state it is then.
    ///
    /// # Errors
    /// What the node refuses.
    pub async fn change(
        self,
        (client, terminal): (&Client, &mut Terminal),
        name: &str,
        method: Method,
        action: &str,
    ) -> Result<(), Failure> {
        let path = self.path_of(name);
        client.send(method, &format!("{path}{action}"), None).await?;
        let answer = client.get(&path).await?;
        let status = field(&answer, "/status");
        let asked = answer["cancel_requested"] == true && status != "cancelled";
        let asked = if asked { ", its cancel is recorded" } else { "" };
        let status = terminal.tinted(&status, tone_of(&status));
        terminal.line(&format!("{} {name} is {status}{asked}", self.kind))
    }

    fn path_of(self, name: &str) -> String {
        format!("{}/{}", self.path, escaped(name))
    }
}

/// Writes `Label: text` lines, the texts under each other.
///
/// # Errors
/// As [`Terminal::line`].
pub fn write_labelled<const N: usize>(
    terminal: &mut Terminal,
    lines: [(&str, String); N],
) -> Result<(), Failure> {
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
    for (label, text) in lines {
        terminal.line(format!("{:<width$} {text}", format!("{label}:")).trim_end())?;
    }
    Ok(())
}
