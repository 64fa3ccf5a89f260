//! The untyped layers become a [`Config`]: types, bounds, unknown keys. Never in here: where a value came from.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use flexcore_actors::domain::labels::read_labels;
use flexcore_actors::domain::problem::Problems;
use flexcore_actors::domain::quantity::format_duration;
use flexcore_actors::domain::reader::{Object, Shared};

use crate::sandbox::level::Level;
use crate::telemetry::{self, LogFormat};

use super::cluster;
use super::layers::{LATER, Layers};
use super::{Config, ConfigError, MAX_CONNECTIONS, MAX_GRACE, MAX_WARM_INTERPRETERS, Mistake, Secret};

pub(super) fn config(layers: &Layers) -> Result<Config, ConfigError> {
    let problems: Shared = Rc::new(RefCell::new(Problems::default()));
    let config = typed(Object::open(&layers.value, "", &problems));
    let problems = problems.take().0;
    if problems.is_empty() {
        return Ok(config);
    }
    let mistakes = problems.into_iter().map(|problem| Mistake {
        origin: layers.origin(&problem.field),
        key: problem.field,
        message: problem.message,
    });
    Err(ConfigError(mistakes.collect()))
}

fn typed(mut root: Object<'_>) -> Config {
    let mut config = Config::default();
    if let Some(mut node) = root.object("node") {
        if node.value("name").is_some() {
            config.node_name = node.name("name").unwrap_or(config.node_name);
        }
        config.node_labels = read_labels(&mut node, "labels");
        config.node_memory = node.bytes("memory");
        node.finish();
    }
    match root.text("data_dir") {
        Some("") => root.problem("data_dir", "expected a directory, found an empty text"),
        Some(path) => config.data_dir = PathBuf::from(path),
        None => {}
    }
    if let Some(http) = root.object("http") {
        read_http(http, &mut config);
    }
    if let Some(mut grpc) = root.object("grpc") {
        if let Some(text) = grpc.text("listen") {
            match address(text, "127.0.0.1:50051") {
                Ok(address) => config.grpc_listen = address,
                Err(message) => grpc.problem("listen", message),
            }
        }
        grpc.finish();
    }
    if let Some(mut database) = root.object("database") {
        config.database_url = database_url(&mut database);
        database.finish();
    }
    if let Some(section) = root.object("cluster") {
        config.cluster = cluster::read(section, &config);
    }
    if let Some(mut integrity) = root.object("integrity") {
        config.integrity_key_file = path(&mut integrity, "key_file", "a file");
        config.integrity_checkpoint_dir = path(&mut integrity, "checkpoint_dir", "a directory");
        integrity.finish();
    }
    if let Some(mut secrets) = root.object("secrets") {
        config.secrets_key_file = path(&mut secrets, "key_file", "a file");
        config.secrets_key = secrets.text("key").map(Secret::new);
        if config.secrets_key_file.is_some() && config.secrets_key.is_some() {
            secrets.problem("key", "there is a secrets.key_file too: give the key in one place");
        }
        secrets.finish();
    }
    if let Some(mut archive) = root.object("archive") {
        config.archive_dir = path(&mut archive, "dir", "a directory");
        archive.finish();
    }
    if let Some(mut auth) = root.object("auth") {
        config.auth_required = auth.boolean("required").unwrap_or(config.auth_required);
        for (key, feature) in LATER {
            auth.not_supported(key, feature);
        }
        auth.finish();
    }
    if let Some(mut sandbox) = root.object("sandbox") {
        config.sandbox_policy = path(&mut sandbox, "policy", "a file");
        let levels = Level::ALL.map(|level| (level.as_str(), level));
        config.sandbox.level = sandbox.word("required", &levels).unwrap_or(config.sandbox.level);
        for (n, name) in sandbox.texts("accept_missing").iter().enumerate() {
            match name.parse() {
                Ok(mechanism) => config.sandbox.accept_missing.push(mechanism),
                Err(message) => sandbox.problem(&format!("accept_missing[{n}]"), message),
            }
        }
        let most = sandbox.integer("warm_interpreters", 0..=MAX_WARM_INTERPRETERS);
        if let Some(most) = most.and_then(|n| usize::try_from(n).ok()) {
            config.warm_interpreters = most;
        }
        sandbox.finish();
    }
    if let Some(filter) = root.text("log") {
        match telemetry::check_filter(filter) {
            Ok(()) => config.log = filter.to_owned(),
            Err(message) => root.problem("log", message),
        }
    }
    let formats = [LogFormat::Text, LogFormat::Json].map(|format| (format.as_str(), format));
    if let Some(format) = root.word("log_format", &formats) {
        config.log_format = format;
    }
    if let Some(mut shutdown) = root.object("shutdown") {
        match shutdown.duration("grace") {
            Some(grace) if grace > MAX_GRACE => {
                shutdown.problem("grace", format!("expected at most {}", format_duration(MAX_GRACE)));
            }
            Some(grace) => config.shutdown_grace = grace,
            None => {}
        }
        shutdown.finish();
    }
    if !config.auth_required && !config.http_listen.ip().is_loopback() {
        let port = config.http_listen.port();
        root.problem(
            "http.listen",
            format!(
                "{} can be reached by others, and nothing is asked of them: set auth.required, or listen on 127.0.0.1:{port}",
                config.http_listen
            ),
        );
    }
    root.finish();
    config
}

fn path(section: &mut Object<'_>, key: &'static str, what: &str) -> Option<PathBuf> {
    match section.text(key)? {
        "" => {
            section.problem(key, format!("expected {what}, found an empty text"));
            None
        }
        path => Some(PathBuf::from(path)),
    }
}

fn read_http(mut http: Object<'_>, config: &mut Config) {
    if let Some(text) = http.text("listen") {
        match address(text, "127.0.0.1:8080") {
            Ok(address) => config.http_listen = address,
            Err(message) => http.problem("listen", message),
        }
    }
    let most = http.integer("max_connections", 1..=MAX_CONNECTIONS);
    if let Some(most) = most.and_then(|n| usize::try_from(n).ok()) {
        config.http_max_connections = most;
    }
    http.finish();
}

/// Reads an address; `localhost` is the loopback one.
fn address(text: &str, such_as: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address = numeric.as_deref().unwrap_or(text).parse();
    address.map_err(|_| {
        format!("{text:?} is not an address to listen on: write address:port, such as {such_as}")
    })
}

/// Reads an address to listen on without access control.
fn database_url(database: &mut Object<'_>) -> Option<Secret> {
    let url = database.text("url")?;
    // the value may hold a password: what is wrong is said without it
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        if url.parse::<tokio_postgres::Config>().is_ok() {
            return Some(Secret::new(url));
        }
        database.problem("url", "not a valid PostgreSQL URL: write postgres://user:password@host:5432/name");
    } else {
        database.problem(
            "url",
            "expected a URL that begins with postgres://, such as postgres://user:password@host:5432/name",
        );
    }
    None
}
