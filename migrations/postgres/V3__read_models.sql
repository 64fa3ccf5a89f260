-- Read models: rows that lists are read from. Everything here is derived from the events and can be rebuilt from them at
-- any time, so it is neither part of the tamper evidence nor protected from change: who projects may insert, update
-- and delete in these tables.

create table projection (
    view                text     collate "C" primary key,
    shape               integer  not null,
    live_generation     integer  not null,
    position            bigint   not null,
    last_event          uuid,
    building_generation integer,
    building_shape      integer,
    building_position   bigint,
    building_last_event uuid
) with (fillfactor = 50);
comment on table projection is 'How far each read model has come. Updated in the transaction that stores its rows.';
comment on column projection.shape is 'The number of the live rows'' shape: a program that writes a higher one rebuilds them.';
comment on column projection.live_generation is 'Which rows lists show.';
comment on column projection.position is 'All events up to here are in the live rows.';
comment on column projection.last_event is 'The event at that position: tells another history from this one.';
comment on column projection.building_generation is 'What is built beside the live rows, to replace them by one update.';

create table view_pipelines (
    generation integer     not null,
    key        text        collate "C" not null,
    at         timestamptz not null,
    status     text        collate "C",
    document   bytea       not null,
    primary key (generation, key)
);
comment on table view_pipelines is 'Pipelines by name; at: when it was created.';
create index view_pipelines_status on view_pipelines (generation, status, key);

create table view_plugins (
    generation integer     not null,
    key        text        collate "C" not null,
    at         timestamptz not null,
    status     text        collate "C",
    document   bytea       not null,
    primary key (generation, key)
);
comment on table view_plugins is 'Plugins by name; at: when it last changed.';
create index view_plugins_status on view_plugins (generation, status, key);

create table view_executions (
    generation integer     not null,
    key        text        collate "C" not null,
    at         timestamptz not null,
    pipeline   text        collate "C",
    plugin     text        collate "C",
    kind       text        collate "C",
    status     text        collate "C",
    document   bytea       not null,
    primary key (generation, key)
);
comment on table view_executions is 'Executions by id; at: when it was asked for.';
create index view_executions_pipeline_status on view_executions (generation, pipeline, status, at, key) where pipeline is not null;
create index view_executions_plugin_status on view_executions (generation, plugin, status, at, key) where plugin is not null;
create index view_executions_kind_status on view_executions (generation, kind, status, at, key);

create table view_metrics (
    generation integer     not null,
    key        text        collate "C" not null,
    at         timestamptz not null,
    period     text        collate "C",
    document   bytea       not null,
    primary key (generation, key)
);
comment on table view_metrics is 'Counters by hour and day, and the open executions that they are measured from; at: when the span began.';
create index view_metrics_period on view_metrics (generation, period, at, key);

create table view_audit (
    generation integer     not null,
    key        text        collate "C" not null,
    at         timestamptz not null,
    actor      text        collate "C",
    outcome    text        collate "C",
    document   bytea       not null,
    primary key (generation, key)
);
comment on table view_audit is 'Requests from outside; at: when they were recorded.';
create index view_audit_actor_outcome on view_audit (generation, actor, outcome, at, key);
create index view_audit_outcome on view_audit (generation, outcome, at, key);
