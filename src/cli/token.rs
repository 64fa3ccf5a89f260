//! `token`: makes, lists and revokes API tokens, through a node or in the store itself, where the first one is made. Never in
//! here: what a token is worth.

use std::time::Duration;

use flexcore_actors::domain::access::{ApiToken, Role, TokenId};
use flexcore_actors::domain::quantity::{format_duration, parse_duration};
use http::Method;
use serde_json::{Value, json};

use crate::access::{Access, TokenError};
use crate::compose;
use crate::config::Config;

use super::args::{TokenArgs, TokenCommand};
use super::client::{Client, escaped};
use super::failure::{Exit, Failure};
use super::human::field;
use super::lists::{items, read_list, write_list};
use super::migrate::{refused, store_config};
use super::output::{Format, Terminal};
use super::recorded::{recorded, recorder};
use super::table::Table;

/// Does a `token` command.
///
/// # Errors
/// What the node refuses ([`Exit::Unauthorised`] without a token of an administrator), a store that cannot be used.
pub async fn token(
    client: impl Fn() -> Result<Client, Failure>,
    terminal: &mut Terminal,
    args: TokenArgs,
) -> Result<(), Failure> {
    let at_rest = args.at_rest || args.store.data_dir.is_some() || args.store.database_url.is_some();
    match args.command {
        TokenCommand::Create { role, expires, output } => {
            let made = if at_rest {
                let config = store_config(terminal, &args.store)?;
                let (access, audit) = (open(&config, true).await?, recorder(&config).await?);
                let made = created(&access, role, expires).await?;
                recorded(&audit, format!("token create {} {role}", made["id"].as_str().unwrap_or_default()))
                    .await?;
                made
            } else {
                let expires = expires.map(format_duration);
                let body = json!({"role": role, "expires": expires});
                client()?.send(Method::POST, "/tokens", Some(&body)).await?
            };
            if output == Format::Json {
                return terminal.json(&made);
            }
            terminal.line(made["token"].as_str().unwrap_or_default())?;
            let until = made["expires_at"].as_str().map_or_else(String::new, |end| format!(", until {end}"));
            terminal.note(&format!(
                "token {} of the role {role}{until}; it is not shown again: keep it, and give it to commands in FLEXCORE_TOKEN",
                made["id"].as_str().unwrap_or_default()
            ));
            Ok(())
        }
        TokenCommand::List { list } => {
            let answer = if at_rest {
                let config = store_config(terminal, &args.store)?;
                let all = open(&config, false).await?.list_all().await;
                json!({"items": all.map_err(failure)?.iter().map(shown).collect::<Vec<_>>()})
            } else {
                read_list(&client()?, "/tokens", &[], None, list.limit).await?
            };
            if list.output.output == Format::Json {
                return terminal.json(&answer);
            }
            let mut table = Table::new(&["ID", "ROLE", "CREATED", "BY", "EXPIRES", "REVOKED"]);
            for row in items(&answer) {
                let fields = ["/id", "/role", "/created_at", "/created_by", "/expires_at", "/revoked_at"];
                table.row(fields.map(|name| field(row, name)));
            }
            write_list(terminal, &answer, &table)
        }
        TokenCommand::Revoke { id } => {
            if at_rest {
                let token = id.parse::<TokenId>().map_err(Failure::usage)?;
                let config = store_config(terminal, &args.store)?;
                let (access, audit) = (open(&config, false).await?, recorder(&config).await?);
                if !access.revoke(token).await.map_err(failure)? {
                    return Err(Failure::new(Exit::NotFound, format!("there is no token {id}"))
                        .hint("see those that there are with: flexcore token list"));
                }
                recorded(&audit, format!("token revoke {token}")).await?;
            } else {
                client()?.send(Method::DELETE, &format!("/tokens/{}", escaped(&id)), None).await?;
            }
            terminal.note(&format!("the token {id} is revoked: it is worth nothing from now on"));
            Ok(())
        }
    }
}

/// Reads what stands behind `--expires`.
///
/// # Errors
/// When it is no duration.
pub fn validity(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

async fn open(config: &Config, make: bool) -> Result<Access, Failure> {
    compose::secrets::access(config, make).await.map_err(|error| refused(&error))
}

async fn created(access: &Access, role: Role, expires: Option<Duration>) -> Result<Value, Failure> {
    let created = access.create(None, role, expires, &compose::audit::actor()).await.map_err(failure)?;
    let mut answer = shown(&created.token);
    answer["token"] = created.text.into();
    Ok(answer)
}

fn shown(token: &ApiToken) -> Value {
    serde_json::to_value(token).unwrap_or_default()
}

fn failure(error: TokenError) -> Failure {
    match &error {
        TokenError::Validity => Failure::usage(error.to_string()),
        TokenError::Made => Failure::new(Exit::Conflict, error.to_string()),
        TokenError::Random(_) => Failure::failed(error.to_string()),
        TokenError::Store(store) if store.retryable() => Failure::new(Exit::Unavailable, error.to_string()),
        TokenError::Store(_) => Failure::failed(error.to_string()),
    }
}
