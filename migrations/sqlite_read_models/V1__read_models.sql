-- Read models: rows that lists are read from. Everything in this file is derived from the events and can be rebuilt from
-- them at any time; it may be lost or deleted while the node is down. Times are microseconds since
-- 1970-01-01T00:00:00Z; ids are UUIDs of 16 bytes; names compare byte by byte.

-- How far each read model has come; updated in the transaction that stores its rows.
create table projection (
    view                text    primary key,
    shape               integer not null,      -- of the live rows: a program that writes a higher one rebuilds them
    live_generation     integer not null,      -- which rows lists show
    position            integer not null,      -- all events up to here are in the live rows
    last_event          blob,                  -- the event at that position: tells another history from this one
    building_generation integer,               -- what is built beside the live rows, to replace them by one update
    building_shape      integer,
    building_position   integer,
    building_last_event blob
) strict, without rowid;

-- Pipelines by name; at: when it was created.
create table view_pipelines (
    generation integer not null,
    key        text    not null,
    at         integer not null,
    status     text,
    document   blob    not null,
    primary key (generation, key)
) strict;
create index view_pipelines_status on view_pipelines (generation, status, key);

-- Plugins by name; at: when it last changed.
create table view_plugins (
    generation integer not null,
    key        text    not null,
    at         integer not null,
    status     text,
    document   blob    not null,
    primary key (generation, key)
) strict;
create index view_plugins_status on view_plugins (generation, status, key);

-- Executions by id; at: when it was asked for.
create table view_executions (
    generation integer not null,
    key        text    not null,
    at         integer not null,
    pipeline   text,
    plugin     text,
    kind       text,
    status     text,
    document   blob    not null,
    primary key (generation, key)
) strict;
create index view_executions_pipeline_status on view_executions (generation, pipeline, status, at, key) where pipeline is not null;
create index view_executions_plugin_status on view_executions (generation, plugin, status, at, key) where plugin is not null;
create index view_executions_kind_status on view_executions (generation, kind, status, at, key);

-- Counters by hour and day, and the open executions that they are measured from; at: when the span began.
create table view_metrics (
    generation integer not null,
    key        text    not null,
    at         integer not null,
    period     text,
    document   blob    not null,
    primary key (generation, key)
) strict;
create index view_metrics_period on view_metrics (generation, period, at, key);

-- Requests from outside; at: when they were recorded.
create table view_audit (
    generation integer not null,
    key        text    not null,
    at         integer not null,
    actor      text,
    outcome    text,
    document   blob    not null,
    primary key (generation, key)
) strict;
create index view_audit_actor_outcome on view_audit (generation, actor, outcome, at, key);
create index view_audit_outcome on view_audit (generation, outcome, at, key);
