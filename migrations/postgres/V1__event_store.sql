-- The event store of a cluster. Names compare byte by byte (collation "C"), as in SQLite and in Rust; hashes are
-- SHA-256. Only the functions at the end write.

create table log_head (
    one           boolean primary key default true check (one),
    next_position bigint  not null,
    digest        bytea
) with (fillfactor = 10);
comment on table log_head is 'One row: where the log ends. Its lock is held by whoever appends or claims, so the order of commits is the order of positions.';
comment on column log_head.next_position is 'The position the next event gets; positions have no gaps.';
comment on column log_head.digest is 'SHA-256(digest before || leaves of the last commit).';
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
    payload_hash   bytea       not null,
    leaf_hash      bytea       not null,
    primary key (position)
) partition by range (position);
comment on table event is 'The events, immutable, in the order of their commits. A partition holds 25 million positions and is archived by detaching it. A partitioned table cannot keep (stream, version) unique: flexcore_append does, by stream.head_version.';
comment on column event.position is '1, 2, 3 … over the whole store.';
comment on column event.version is '1, 2, 3 … within the stream.';
comment on column event.recorded_at is 'When it was appended: the node''s clock, one time for a commit; no two commits of a node have the same.';
comment on column event.id is 'The event''s own id.';
comment on column event.correlation_id is 'What belongs together.';
comment on column event.causation_id is 'The event or command that led to it.';
comment on column event.schema_version is 'The version of the payload''s shape.';
comment on column event.stream is '<category>-<id>.';
comment on column event.kind is 'The type, such as PipelineCreated.';
comment on column event.node is 'The node that owned the stream''s shard.';
comment on column event.actor is 'Who asked.';
comment on column event.payload is 'MessagePack map with named fields.';
comment on column event.payload_hash is 'SHA-256 of the payload.';
comment on column event.leaf_hash is 'Over header, previous leaf of the stream and payload_hash.';
create index event_stream_version on event (stream, version);
create index event_recorded_at on event using brin (recorded_at);

create table stream (
    name         text     collate "C" primary key,
    head_version bigint   not null,
    shard        smallint not null,
    category     text     collate "C" not null,
    leaf_hash    bytea    not null
) with (fillfactor = 70);
comment on table stream is 'Where each stream ends.';
comment on column stream.head_version is 'The version of the stream''s last event.';
comment on column stream.shard is '0 to 255: who may write the stream, see table shard.';
comment on column stream.category is 'The part of the name before the first dash.';
comment on column stream.leaf_hash is 'Leaf hash of the last event.';

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
    s_stream text[], s_category text[], s_shard smallint[], s_expected bigint[], s_events integer[], s_leaf bytea[]
) returns void language plpgsql as $$
declare
    v_moved bigint;
begin
    if begin_count > 0 then
        insert into stream (name, head_version, shard, category, leaf_hash)
        select s.name, s.events, s.shard, s.category, s.leaf
        from unnest(s_stream, s_shard, s_category, s_expected, s_events, s_leaf)
             as s (name, shard, category, expected, events, leaf)
        where s.expected = 0 and s.events > 0;
    end if;

    if go_on_count > 0 then
        update stream t set head_version = s.expected + s.events, leaf_hash = s.leaf
        from unnest(s_stream, s_expected, s_events, s_leaf) as s (name, expected, events, leaf)
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
    p_node text,
    c_unit integer[], c_stream text[], c_command uuid[], c_hash bytea[],
    r_unit integer[], r_event bigint[],
    s_unit integer[], s_stream text[], s_shard smallint[], s_epoch bigint[], s_expected bigint[],
    e_stream text[], e_version bigint[], e_id uuid[]
) returns table (
    code integer, unit integer, part bigint, number bigint, events integer, first_version bigint,
    at timestamptz, answer bytea
) language sql as $$
    select case when c.request_hash = u.hash then 1 else 2 end, u.unit, 0::bigint,
           c.position, c.events, c.first_version, c.committed_at, c.answer
    from unnest(c_unit, c_stream, c_command, c_hash) as u (unit, stream, id, hash)
    join command c on c.stream = u.stream and c.command_id = u.id
    union all
    select 3, r.unit, 0, v.position, null, null, v.recorded_at, null
    from unnest(r_unit, r_event) as r (unit, event)
    join unnest(e_stream, e_version, e_id) with ordinality as e (stream, version, id, ord) on e.ord = r.event
    join event v on v.stream = e.stream and v.version = e.version and v.id = e.id
    union all
    select 4, s.unit, s.ord, h.epoch, null, null, null, null
    from unnest(s_unit, s_shard, s_epoch) with ordinality as s (unit, shard, epoch, ord)
    join shard h on h.shard = s.shard
    where h.epoch <> s.epoch or h.owner is distinct from p_node
    union all
    select 5, s.unit, s.ord, coalesce(t.head_version, 0), null, null, null, null
    from unnest(s_unit, s_stream, s_expected) with ordinality as s (unit, stream, expected, ord)
    left join stream t on t.name = s.stream
    where coalesce(t.head_version, 0) <> s.expected
$$;
comment on function flexcore_refusals is 'Part of flexcore_append: what speaks against the units of a batch.';

-- Appends a batch of a node, or says what speaks against it. The arguments are columns: c_* one entry for each unit
-- with a command, r_* for each without one but with events (r_event is its first among the e_*, from 1), s_* for each
-- stream of a unit (begin_count and go_on_count of them get their first or further events), g_* for each pair of shard
-- and epoch that occurs, e_* for each event, w_* for each wake-up; units are numbered from 0. p_leaves are the leaf
-- hashes of all events, one after the other.
-- Answers one row with code 0 when everything was stored (number = the position before the first event). Otherwise
-- nothing was stored and each row speaks against a unit: 1 repeated command (with its first outcome), 2 command id
-- reused, 3 repeated unit without a command (number = position of its first event), 4 fenced (number = current
-- epoch), 5 conflict (number = the stream's version); part is the 1-based place among the s_* columns.
-- It is one statement of its own transaction (READ COMMITTED: each statement inside sees what was committed before
-- the head's lock was granted), so the lock is never held across a round trip.
-- It stores first and looks for reasons only when that fails: nearly every batch is good, and the primary keys and
-- the comparison of versions find a bad one at no extra cost.
create function flexcore_append(
    p_node text, p_at timestamptz, p_leaves bytea,
    c_unit integer[], c_stream text[], c_command uuid[], c_hash bytea[], c_answer bytea[],
    c_first bigint[], c_events integer[], c_last bigint[],
    r_unit integer[], r_event bigint[],
    s_unit integer[], s_stream text[], s_category text[], s_shard smallint[], s_epoch bigint[],
    s_expected bigint[], s_events integer[], s_leaf bytea[], begin_count integer, go_on_count integer,
    g_shard smallint[], g_epoch bigint[],
    e_stream text[], e_version bigint[], e_id uuid[], e_kind text[], e_schema integer[],
    e_actor text[], e_correlation uuid[], e_causation uuid[], e_payload bytea[], e_payload_hash bytea[],
    e_leaf bytea[],
    w_stream text[], w_due timestamptz[]
) returns table (
    code integer, unit integer, part bigint, number bigint, events integer, first_version bigint,
    at timestamptz, answer bytea
) language plpgsql as $$
#variable_conflict use_column
declare
    v_before  bigint;
    v_count   constant bigint := cardinality(e_id);
    v_stored  boolean := false;
begin
    select next_position - 1 into strict v_before from log_head for update;

    perform from unnest(g_shard, g_epoch) as g (shard, epoch)
    left join shard h on h.shard = g.shard and h.epoch = g.epoch and h.owner = p_node
    where h.shard is null; -- S1
    if not found then
        begin
            if cardinality(c_command) > 0 then
                insert into command (stream, command_id, first_version, position, committed_at, events,
                                     request_hash, answer)
                select c.stream, c.id, c.first, v_before + c.last, p_at, c.events, c.hash, c.answer
                from unnest(c_stream, c_command, c_hash, c_answer, c_first, c_events, c_last)
                     as c (stream, id, hash, answer, first, events, last);
            end if;

            perform flexcore_move_heads(
                begin_count, go_on_count, s_stream, s_category, s_shard, s_expected, s_events, s_leaf);

            insert into event (position, version, recorded_at, id, correlation_id, causation_id, schema_version,
                               stream, kind, node, actor, payload, payload_hash, leaf_hash)
            select v_before + e.ord, e.version, p_at, e.id, e.correlation, e.causation, e.schema,
                   e.stream, e.kind, p_node, e.actor, e.payload, e.payload_hash, e.leaf
            from unnest(e_stream, e_version, e_id, e_kind, e_schema, e_actor, e_correlation, e_causation, e_payload,
                        e_payload_hash, e_leaf) with ordinality
                 as e (stream, version, id, kind, schema, actor, correlation, causation, payload, payload_hash, leaf,
                       ord);
            v_stored := true;
        exception when unique_violation or serialization_failure then
            null; -- nothing of it is stored; the reasons follow
        end;
    end if;

    if not v_stored then
        return query select * from flexcore_refusals(
            p_node, c_unit, c_stream, c_command, c_hash, r_unit, r_event, s_unit, s_stream, s_shard, s_epoch,
            s_expected, e_stream, e_version, e_id);
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
        update log_head set next_position = v_before + v_count + 1,
                            digest = sha256(coalesce(digest, '') || p_leaves);
        perform pg_notify('flexcore_events', (v_before + v_count)::text);
    end if;

    return query select 0, null::integer, null::bigint, v_before, null::integer, null::bigint, null::timestamptz,
                        null::bytea;
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
