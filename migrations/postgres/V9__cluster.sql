-- Who is a member of the cluster, and which shards each owns. A renewal never takes the lock of the log's head; whatever
-- changes owners does, so that no append of an earlier owner commits after it (S1). Times are those of the database.

create table node (
    incarnation uuid        primary key,
    name        text        collate "C" not null,
    home        uuid        not null,
    address     text,
    labels      jsonb       not null,
    state       text        not null check (state in ('live', 'draining', 'left', 'dead')),
    lease_until timestamptz not null,
    joined_at   timestamptz not null,
    ended_at    timestamptz
) with (fillfactor = 50);
comment on table node is 'The lives of nodes: those that are members, and those that ended lately.';
comment on column node.incarnation is 'One life of a node.';
comment on column node.home is 'Its data directory: the next life from the same one supersedes it at once.';
comment on column node.address is 'Where the others reach it; null when it is a cluster of its own.';
comment on column node.labels is 'What selects it for work.';
comment on column node.state is 'left and dead are final.';
comment on column node.lease_until is 'Until then nobody may mark it dead.';
create unique index node_name on node (name) where state in ('live', 'draining');

create table cluster (
    one      boolean primary key default true check (one),
    revision bigint  not null
) with (fillfactor = 10);
comment on table cluster is 'One row: how often members or owners have changed.';
insert into cluster (revision) values (0);

-- No function here waits for a lock for longer: one paused node must not halt the cluster.
create function flexcore_wait_briefly() returns text language sql as $$
    select set_config('lock_timeout', '2s', true)
$$;
comment on function flexcore_wait_briefly is 'Bounds the waits for locks for the rest of the transaction.';

-- Frees the shards whose owner is no member, and counts the change. The caller holds the lock of the log's head.
create function flexcore_free_shards() returns void language sql as $$
    update shard s set owner = null
    where s.owner is not null
      and not exists (select from node n where n.name = s.owner and n.state in ('live', 'draining'));
    update cluster set revision = revision + 1;
$$;
comment on function flexcore_free_shards is 'Frees the shards whose owner is no member, and counts the change.';

-- Makes a node a member. Answers member, or why not: name_taken (how long the other''s lease runs), not_alone (whom it
-- would have to live with, while one of the two has no address).
create function flexcore_join(
    n_name text, n_incarnation uuid, n_home uuid, n_address text, n_labels text, lease_ms bigint
) returns table (outcome text, other text, left_ms bigint) language plpgsql as $$
#variable_conflict use_column
declare
    v_lease constant interval := lease_ms * interval '1 millisecond';
    v_other record;
begin
    perform flexcore_wait_briefly();
    perform from log_head for update;
    -- a former life in the same place has ended, as has one whose lease has run out under the name, or beside one that
    -- would live alone
    update node set state = 'dead', ended_at = clock_timestamp()
    where state in ('live', 'draining') and incarnation <> n_incarnation
      and (home = n_home or lease_until <= clock_timestamp() and (name = n_name or n_address is null));
    perform flexcore_free_shards();

    select n.name, n.lease_until, n.name = n_name as same into v_other
    from node n
    where n.state in ('live', 'draining') and n.incarnation <> n_incarnation
      and (n.name = n_name or n_address is null or n.address is null)
    order by n.name <> n_name, n.name limit 1;
    if found then
        return query select case when v_other.same then 'name_taken' else 'not_alone' end, v_other.name,
            greatest(0, ceil(extract(epoch from v_other.lease_until - clock_timestamp()) * 1000))::bigint;
        return;
    end if;

    insert into node (incarnation, name, home, address, labels, state, lease_until, joined_at)
    values (n_incarnation, n_name, n_home, n_address, n_labels::jsonb, 'live', clock_timestamp() + v_lease, clock_timestamp())
    on conflict (incarnation) do nothing;
    delete from node where state in ('left', 'dead') and incarnation not in (
        select n.incarnation from node n
        where n.state in ('left', 'dead') and n.ended_at > clock_timestamp() - interval '1 day'
        order by n.ended_at desc limit 100);
    return query select 'member', null::text, null::bigint;
end
$$;
comment on function flexcore_join is 'Makes a node a member of the cluster, or says why not.';

-- Lets the lease run anew. Answers whether it is a member still, the revision, and whether another member is silent.
create function flexcore_renew(n_incarnation uuid, n_state text, lease_ms bigint)
returns table (alive boolean, revision bigint, silent boolean) language plpgsql as $$
#variable_conflict use_column
declare
    v_before text;
begin
    perform flexcore_wait_briefly();
    select state into v_before from node where incarnation = n_incarnation and state in ('live', 'draining') for update;
    if found then
        update node set state = n_state, lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
        where incarnation = n_incarnation;
        if v_before <> n_state then
            update cluster set revision = revision + 1;
        end if;
    end if;
    return query select v_before is not null, c.revision, exists (
        select from node n
        where n.state in ('live', 'draining') and n.incarnation <> n_incarnation and n.lease_until <= clock_timestamp())
    from cluster c;
end
$$;
comment on function flexcore_renew is 'Lets a member''s lease run anew.';

create function flexcore_leave(n_incarnation uuid) returns void language plpgsql as $$
begin
    perform flexcore_wait_briefly();
    perform from log_head for update;
    update node set state = 'left', ended_at = clock_timestamp()
    where incarnation = n_incarnation and state in ('live', 'draining');
    if found then
        perform flexcore_free_shards();
    end if;
end
$$;
comment on function flexcore_leave is 'Ends a membership; its shards are free.';

-- The row of the member is locked by the update, so that a renewal comes before it, which keeps the member, or after it.
create function flexcore_mark_dead(by_incarnation uuid, n_incarnation uuid) returns boolean
language plpgsql as $$
begin
    perform flexcore_wait_briefly();
    perform from log_head for update;
    update node set state = 'dead', ended_at = clock_timestamp()
    where incarnation = n_incarnation and state in ('live', 'draining') and lease_until <= clock_timestamp()
      and exists (select from node n where n.incarnation = by_incarnation and n.state in ('live', 'draining'));
    if not found then
        return false;
    end if;
    perform flexcore_free_shards();
    return true;
end
$$;
comment on function flexcore_mark_dead is 'Marks a member dead whose lease has run out (S4).';

create function flexcore_claim(n_incarnation uuid, n_shards smallint[]) returns table (shard smallint, epoch bigint)
language plpgsql as $$
#variable_conflict use_column
begin
    perform flexcore_wait_briefly();
    perform from log_head for update;
    return query
        update shard s set owner = n.name, epoch = s.epoch + 1
        from node n
        where s.shard = any (n_shards) and s.owner is null and n.incarnation = n_incarnation and n.state = 'live'
        returning s.shard, s.epoch;
    if found then
        update cluster set revision = revision + 1;
    end if;
end
$$;
comment on function flexcore_claim is 'Takes those of the shards that nobody owns: their epochs rise (S4).';

create function flexcore_release(n_incarnation uuid, n_shards smallint[]) returns void
language plpgsql as $$
begin
    perform flexcore_wait_briefly();
    perform from log_head for update;
    update shard s set owner = null
    from node n
    where s.shard = any (n_shards) and s.owner = n.name and n.incarnation = n_incarnation and n.state in ('live', 'draining');
    if found then
        update cluster set revision = revision + 1;
    end if;
end
$$;
comment on function flexcore_release is 'Gives those of the shards back that the member owns.';

-- A part without an epoch is a guard, or the stream of one life of a node, which nobody else writes: its version alone
-- is checked.
create or replace function flexcore_refusals(
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
    where s.epoch is not null and (h.epoch <> s.epoch or h.owner is distinct from p_node)
    union all
    select 5, s.unit, s.ord, coalesce(t.head_version, 0), null, null, null, null
    from unnest(s_unit, s_stream, s_expected) with ordinality as s (unit, stream, expected, ord)
    left join stream t on t.name = s.stream
    where coalesce(t.head_version, 0) <> s.expected
$$;

drop function flexcore_claim_all(text);
