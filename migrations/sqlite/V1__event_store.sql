-- The event store of one node. Times are microseconds since 1970-01-01T00:00:00Z; ids are UUIDs of 16 bytes;
-- hashes are SHA-256. Names compare byte by byte (SQLite's default), as PostgreSQL's do under collation "C".

-- One row: where the log ends. Every append goes through it.
create table log_head (
    one           integer primary key check (one = 1),
    next_position integer not null,             -- the position the next event gets; positions have no gaps
    digest        blob                          -- SHA-256(digest before ‖ leaves of the last commit)
) strict;
insert into log_head (one, next_position) values (1, 1);

-- The events, immutable, in the order of their commits.
create table event (
    position       integer primary key,         -- 1, 2, 3 … over the whole store
    stream         text    not null,            -- <category>-<id>
    version        integer not null,            -- 1, 2, 3 … within the stream
    id             blob    not null,            -- the event's own id
    kind           text    not null,            -- its type, such as PipelineCreated
    schema_version integer not null,            -- the version of its payload's shape
    recorded_at    integer not null,            -- when the node stored it, one time for a batch
    node           text    not null,            -- the node that owned the stream's shard
    actor          text    not null,            -- who asked
    correlation_id blob    not null,            -- what belongs together
    causation_id   blob,                        -- the event or command that led to it
    payload        blob    not null,            -- MessagePack map with named fields
    payload_hash   blob    not null,            -- of the payload
    leaf_hash      blob    not null,            -- over header, previous leaf of the stream and payload_hash
    unique (stream, version)
) strict;

-- Where each stream ends.
create table stream (
    name         text    primary key,
    category     text    not null,              -- the part of the name before the first dash
    shard        integer not null,              -- 0 to 255: who may write it, see table shard
    head_version integer not null,              -- the version of its last event
    leaf_hash    blob    not null               -- leaf hash of its last event
) strict, without rowid;

-- The first outcome of every command, so that a repeat is answered and not carried out again.
create table command (
    stream        text    not null,             -- the stream whose aggregate was commanded
    command_id    blob    not null,
    request_hash  blob    not null,             -- digest of what was asked: the same id for something else is refused
    first_version integer not null,             -- version of the stream before the command
    events        integer not null,             -- how many events it stored, in all streams
    position      integer not null,             -- of its last event; without events, where the log ended
    committed_at  integer not null,
    answer        blob    not null,             -- what its caller is told besides (MessagePack)
    primary key (command_id, stream)
) strict, without rowid;

-- Who may write the streams of each shard.
create table shard (
    shard integer primary key,                  -- 0 to 255
    owner text,                                 -- the node; null before the first claim
    epoch integer not null                      -- rises with every claim: an earlier owner's appends are refused
) strict;
insert into shard (shard, owner, epoch)
with recursive counter (n) as (select 0 union all select n + 1 from counter where n < 255)
select n, null, 0 from counter;

-- Streams with open work: what a node that starts loads.
create table wakeup (
    stream text    primary key,
    due    integer not null
) strict, without rowid;

-- An aggregate's state at a version, to recover faster. May be lost or ignored at any time.
create table snapshot (
    stream             text    primary key,
    version            integer not null,
    schema_fingerprint blob    not null,        -- of the state's shape: another shape is ignored, not decoded
    payload            blob    not null,
    taken_at           integer not null
) strict;
