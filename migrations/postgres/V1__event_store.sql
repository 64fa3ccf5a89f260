-- The event store of a cluster. Names compare byte by byte (collation "C"), as in SQLite and in Rust; hashes are
-- SHA-256. Only the functions at the end write.

create table log_head (
    one           boolean primary key default true check (one),
    next_position bigint  not null,
    digest        bytea
) with (fillfactor = 10);
comment on table log_head is 'One row: where the log ends. Its lock is held by whoever appends or claims, so the order of commits is the order of positions.';
comment on column log_head.next_position is 'The position the next event gets; positions have no gaps.';
comment on column log_head.digest is 'Chained over all events; filled in by tamper evidence.';
insert into log_head (next_position) values (1);

create table event (
    position       bigint      not null,
    version        bigint      not null,
    recorded_at    timestamptz not null,
    id             uuid        not null,
    correlation_id uuid        not null,
    causation_id   uuid,
    schema_version integer     not null,
    stream         text        collate "C" not null,
    kind           text        collate "C" not null,
    node           text        collate "C" not null,
    actor          text        not null,
    payload        bytea       not null,
    payload_hash   bytea,
    leaf_hash      bytea,
    primary key (position)
) partition by range (position);
comment on table event is 'The events, immutable, in the order of their commits. A partition holds 25 million positions and is archived by detaching it. A partitioned table cannot keep (stream, version) unique: flexcore_append does, by stream.head_version.';
comment on column event.position is '1, 2, 3 … over the whole store.';
comment on column event.version is '1, 2, 3 … within the stream.';
comment on column event.recorded_at is 'When it was appended: the database''s clock, one time for a batch.';
comment on column event.id is 'The event''s own id.';
comment on column event.correlation_id is 'What belongs together.';
comment on column event.causation_id is 'The event or command that led to it.';
comment on column event.schema_version is 'The version of the payload''s shape.';
comment on column event.stream is '<category>-<id>.';
comment on column event.kind is 'The type, such as PipelineCreated.';
comment on column event.node is 'The node that owned the stream''s shard.';
comment on column event.actor is 'Who asked.';
comment on column event.payload is 'MessagePack map with named fields.';
comment on column event.payload_hash is 'Filled in by tamper evidence; kept when a payload is archived.';
comment on column event.leaf_hash is 'Over header, previous leaf of the stream and payload_hash; filled in by tamper evidence.';
create index event_stream_version on event (stream, version);
create index event_recorded_at on event using brin (recorded_at);

create table stream (
    name         text     collate "C" primary key,
    head_version bigint   not null,
    shard        smallint not null,
    category     text     collate "C" not null,
    leaf_hash    bytea
) with (fillfactor = 70);
comment on table stream is 'Where each stream ends.';
comment on column stream.head_version is 'The version of the stream''s last event.';
comment on column stream.shard is '0 to 255: who may write the stream, see table shard.';
comment on column stream.category is 'The part of the name before the first dash.';
comment on column stream.leaf_hash is 'Leaf hash of the last event; filled in by tamper evidence.';

create table command (
    stream        text        collate "C" not null,
    command_id    uuid        not null,
    first_version bigint      not null,
    position      bigint      not null,
    committed_at  timestamptz not null,
    events        integer     not null,
    request_hash  bytea       not null,
    answer        bytea       not null,
    primary key (command_id, stream)
);
comment on table command is 'The first outcome of every command, so that a repeat is answered and not carried out again.';
comment on column command.stream is 'The stream whose aggregate was commanded.';
comment on column command.first_version is 'The version of that stream before the command.';
comment on column command.position is 'Of its last event; without events, where the log ended.';
comment on column command.events is 'How many events it stored, in all streams.';
comment on column command.request_hash is 'Digest of what was asked: the same id for something else is refused.';
comment on column command.answer is 'What its caller is told besides (MessagePack).';

create table shard (
    shard smallint primary key,
    owner text     collate "C",
    epoch bigint   not null
);
comment on table shard is 'Who may write the streams of each of the 256 shards.';
comment on column shard.owner is 'The node; null before the first claim.';
comment on column shard.epoch is 'Rises with every claim: an earlier owner''s appends are refused.';
insert into shard (shard, epoch) select n, 0 from generate_series(0, 255) as n;

create table wakeup (
    stream text        collate "C" primary key,
    due    timestamptz not null
);
comment on table wakeup is 'Streams with open work: what a node that starts loads.';

create table snapshot (
    stream             text        collate "C" primary key,
    version            bigint      not null,
    taken_at           timestamptz not null,
    schema_fingerprint bytea       not null,
    payload            bytea       not null
);
comment on table snapshot is 'An aggregate''s state at a version, to recover faster. May be lost or ignored at any time.';
comment on column snapshot.schema_fingerprint is 'Of the state''s shape: another shape is ignored, not decoded.';

-- Makes the partitions up to and with the one after the one that holds the position. A partition is made beside the
-- table and then attached: attaching waits for no reader, creating in place would.
create function flexcore_add_partitions(holding bigint) returns void language plpgsql as $$
declare
    size  constant bigint := 25000000;
    last  constant bigint := holding / size + 1;
    n     bigint := last;
    name  text;
begin
    perform from log_head for update; -- two nodes that start together take turns
    while n > 0 and to_regclass('event_p' || lpad((n - 1)::text, 6, '0')) is null loop
        n := n - 1;
    end loop;
    while n <= last loop
        name := 'event_p' || lpad(n::text, 6, '0');
        if to_regclass(name) is null then
            execute format('create table %I (like event including all)', name);
            execute format('alter table event attach partition %I for values from (%s) to (%s)',
                name, n * size, (n + 1) * size);
        end if;
        n := n + 1;
    end loop;
end
$$;
comment on function flexcore_add_partitions is 'Makes the partitions up to and with the one after the one that holds the position.';
select flexcore_add_partitions(25000000);

-- Moves the heads of streams that are where they are expected to be; fails when one is not (S2). Streams without
-- events are only compared. How many streams begin and how many go on is the caller's to count: what is not there is
-- not looked for.
create function flexcore_move_heads(
    begin_count integer, go_on_count integer,
    s_stream text[], s_category text[], s_shard smallint[], s_expected bigint[], s_events integer[]
) returns void language plpgsql as $$
declare
    v_moved bigint;
begin
    if begin_count > 0 then
        insert into stream (name, head_version, shard, category)
        select s.name, s.events, s.shard, s.category
        from unnest(s_stream, s_shard, s_category, s_expected, s_events)
             as s (name, shard, category, expected, events)
        where s.expected = 0 and s.events > 0;
    end if;

    if go_on_count > 0 then
        update stream t set head_version = s.expected + s.events
        from unnest(s_stream, s_expected, s_events) as s (name, expected, events)
        where t.name = s.name and t.head_version = s.expected and s.expected > 0 and s.events > 0;
        get diagnostics v_moved = row_count;
        if v_moved <> go_on_count then
            raise serialization_failure;
        end if;
    end if;

    if begin_count + go_on_count < cardinality(s_stream) then
        perform from unnest(s_stream, s_expected, s_events) as s (name, expected, events)
        left join stream t on t.name = s.name
        where s.events = 0 and coalesce(t.head_version, 0) <> s.expected;
        if found then
            raise serialization_failure;
        end if;
    end if;
end
$$;
comment on function flexcore_move_heads is 'Part of flexcore_append: moves stream heads, or fails when one is not where it is expected.';

-- What speaks against the units of a batch: see flexcore_append.
create function flexcore_refusals(
    u_stream text[], u_command uuid[], u_hash bytea[],
    s_unit integer[], s_stream text[], s_shard smallint[], s_epoch bigint[], s_expected bigint[]
) returns table (
    code integer, unit integer, part bigint, number bigint, events integer, first_version bigint,
    at timestamptz, answer bytea
) language sql as $$
    select case when c.request_hash = u.hash then 1 else 2 end, u.ord::integer - 1, 0::bigint,
           c.position, c.events, c.first_version, c.committed_at, c.answer
    from unnest(u_stream, u_command, u_hash) with ordinality as u (stream, id, hash, ord)
    join command c on c.stream = u.stream and c.command_id = u.id
    union all
    select 3, s.unit, s.ord, h.epoch, null, null, null, null
    from unnest(s_unit, s_shard, s_epoch) with ordinality as s (unit, shard, epoch, ord)
    join shard h on h.shard = s.shard
    where h.epoch <> s.epoch or h.owner is null
    union all
    select 4, s.unit, s.ord, coalesce(t.head_version, 0), null, null, null, null
    from unnest(s_unit, s_stream, s_expected) with ordinality as s (unit, stream, expected, ord)
    left join stream t on t.name = s.stream
    where coalesce(t.head_version, 0) <> s.expected
$$;
comment on function flexcore_refusals is 'Part of flexcore_append: what speaks against the units of a batch.';

-- Appends a batch, or says what speaks against it. The arguments are columns: u_* one entry for each unit, s_* for
-- each stream of a unit (begin_count and go_on_count of them get their first or further events), g_* for each pair of
-- shard and epoch that occurs, e_* for each event (e_claim is its place among the g_*, from 1), w_* for each wake-up;
-- units are numbered from 0.
-- Answers one row with code 0 when everything was stored (number = the position before the first event, at = the
-- time). Otherwise nothing was stored and each row speaks against a unit: 1 repeated command (with its first
-- outcome), 2 command id reused, 3 fenced (number = current epoch), 4 conflict (number = the stream's version);
-- part is the 1-based place among the s_* columns.
-- It is one statement of its own transaction (READ COMMITTED: each statement inside sees what was committed before
-- the head's lock was granted), so the lock is never held across a round trip.
-- It stores first and looks for reasons only when that fails: nearly every batch is good, and the primary keys and
-- the comparison of versions find a bad one at no extra cost.
create function flexcore_append(
    u_stream text[], u_command uuid[], u_hash bytea[], u_answer bytea[],
    u_first bigint[], u_events integer[], u_last bigint[],
    s_unit integer[], s_stream text[], s_category text[], s_shard smallint[], s_epoch bigint[],
    s_expected bigint[], s_events integer[], begin_count integer, go_on_count integer,
    g_shard smallint[], g_epoch bigint[],
    e_stream text[], e_claim integer[], e_version bigint[], e_id uuid[], e_kind text[], e_schema integer[],
    e_actor text[], e_correlation uuid[], e_causation uuid[], e_payload bytea[],
    w_stream text[], w_due timestamptz[]
) returns table (
    code integer, unit integer, part bigint, number bigint, events integer, first_version bigint,
    at timestamptz, answer bytea
) language plpgsql as $$
#variable_conflict use_column
declare
    v_before  bigint;
    v_count   constant bigint := cardinality(e_id);
    v_now     timestamptz;
    v_owners  text[]; -- of the g_*
    v_stored  boolean := false;
begin
    select next_position - 1 into strict v_before from log_head for update;
    v_now := clock_timestamp();

    -- a claim that is not the current one has no owner here (S1)
    select array_agg(h.owner order by g.ord) into v_owners
    from unnest(g_shard, g_epoch) with ordinality as g (shard, epoch, ord)
    left join shard h on h.shard = g.shard and h.epoch = g.epoch;
    if array_position(v_owners, null) is null then
        begin
            insert into command (stream, command_id, first_version, position, committed_at, events, request_hash,
                                 answer)
            select u.stream, u.id, u.first, v_before + u.last, v_now, u.events, u.hash, u.answer
            from unnest(u_stream, u_command, u_hash, u_answer, u_first, u_events, u_last)
                 as u (stream, id, hash, answer, first, events, last);

            perform flexcore_move_heads(begin_count, go_on_count, s_stream, s_category, s_shard, s_expected, s_events);

            insert into event (position, version, recorded_at, id, correlation_id, causation_id, schema_version,
                               stream, kind, node, actor, payload)
            select v_before + e.ord, e.version, v_now, e.id, e.correlation, e.causation, e.schema,
                   e.stream, e.kind, v_owners[e.claim], e.actor, e.payload
            from unnest(e_stream, e_claim, e_version, e_id, e_kind, e_schema, e_actor, e_correlation, e_causation,
                        e_payload) with ordinality
                 as e (stream, claim, version, id, kind, schema, actor, correlation, causation, payload, ord);
            v_stored := true;
        exception when unique_violation or serialization_failure then
            null; -- nothing of it is stored; the reasons follow
        end;
    end if;

    if not v_stored then
        return query select * from flexcore_refusals(
            u_stream, u_command, u_hash, s_unit, s_stream, s_shard, s_epoch, s_expected);
        if not found then
            raise exception 'the batch was refused and no reason is found: the event store is damaged';
        end if;
        return;
    end if;

    if cardinality(w_stream) > 0 then
        delete from wakeup k using unnest(w_stream, w_due) as w (stream, due)
        where k.stream = w.stream and w.due is null;
        insert into wakeup (stream, due)
        select w.stream, w.due from unnest(w_stream, w_due) as w (stream, due) where w.due is not null
        on conflict (stream) do update set due = excluded.due;
    end if;

    if v_count > 0 then
        update log_head set next_position = v_before + v_count + 1;
        perform pg_notify('flexcore_events', (v_before + v_count)::text);
    end if;

    return query select 0, null::integer, null::bigint, v_before, null::integer, null::bigint, v_now, null::bytea;
end
$$;
comment on function flexcore_append is 'Appends a batch of units, or stores nothing and says what speaks against it. S1, S2, S3 and gapless positions are kept here.';

-- Takes all shards for a node. Waits for the head's lock, so no append of an earlier owner is under way when the
-- epochs rise (S1, S4).
create function flexcore_claim_all(node text) returns setof bigint language plpgsql as $$
begin
    perform from log_head for update;
    update shard set owner = node, epoch = epoch + 1;
    return query select epoch from shard order by shard.shard;
end
$$;
comment on function flexcore_claim_all is 'Takes all shards for a node: every epoch rises. Answers the epochs by shard.';
