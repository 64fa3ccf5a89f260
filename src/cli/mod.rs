//! The command line: what was typed becomes requests to a running node, or a node itself. Never in here: a rule of
//! the domain; the node alone decides what is right.

mod apply;
mod archive;
mod args;
mod args_resources;
mod audit;
mod check;
mod client;
mod demo;
mod difference;
mod events;
mod executions;
mod export;
mod failure;
mod files;
mod follow;
mod human;
mod import;
mod inspect;
mod integrity;
mod lists;
mod logs;
mod migrate;
mod moment;
mod output;
mod parameters;
mod pipelines;
mod plugins;
mod progress;
mod projections;
mod recorded;
mod refusal;
mod resource;
mod run;
mod secrets;
mod serve;
mod sse;
mod subscriptions;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod verify;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::config::Secret;

use args::{Cli, Command};
use client::Client;
use failure::{Exit, Failure};
use output::Terminal;

/// Does what the process's arguments say; the answer is its exit code.
pub async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version come this way too; a closed standard output is no reason to complain
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let mut terminal = Terminal::process();
    match execute(cli, &mut terminal).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

async fn execute(cli: Cli, terminal: &mut Terminal) -> Result<(), Failure> {
    let client = || {
        let token = std::env::var("FLEXCORE_TOKEN").ok().filter(|token| !token.is_empty());
        Client::new(&cli.server, token.map(Secret::new))
    };
    match cli.command {
        Command::Serve(args) => serve::serve(terminal, args).await,
        Command::Demo(args) => demo::demo(terminal, args).await,
        Command::Check(command) => check::check(terminal, command).await,
        Command::Integrity(command) => integrity::integrity(terminal, command),
        Command::Secrets(args) => secrets::secrets(terminal, args).await,
        Command::Token(args) => token::token(client, terminal, args).await,
        Command::Archive(args) => archive::archive(terminal, args).await,
        Command::Migrate(args) => migrate::migrate(terminal, args).await,
        Command::Verify(args) => verify::verify(client, terminal, args).await,
        Command::Export(args) => export::export(client, terminal, args).await,
        Command::Import(args) => import::import(terminal, args).await,
        Command::Apply(args) => apply::apply(&client()?, terminal, args).await,
        Command::Run(args) => run::run(&client()?, terminal, args).await,
        Command::Exec(args) => run::exec(&client()?, terminal, args).await,
        Command::Pipelines(command) => pipelines::pipelines(&client()?, terminal, command).await,
        Command::Plugins(command) => plugins::plugins(&client()?, terminal, command).await,
        Command::Executions(command) => executions::executions(&client()?, terminal, command).await,
        Command::Events(args) => events::events(&client()?, terminal, args).await,
        Command::Bookmarks(command) => pipelines::bookmarks(&client()?, terminal, command).await,
        Command::Subscriptions(command) => subscriptions::subscriptions(&client()?, terminal, command).await,
        Command::Audit(args) => audit::audit(&client()?, terminal, args).await,
        Command::Projections(command) => projections::projections(&client()?, terminal, command).await,
        Command::Inspect(command) => inspect::inspect(&client()?, terminal, command).await,
    }
}
