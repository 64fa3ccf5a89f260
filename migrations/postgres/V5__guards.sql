-- What keeps history as it is: events, commands, tiles and checkpoints are only ever added. Triggers say no to everybody,
-- also to the owner by mistake; an application role can do nothing but read and call the functions. Who owns the tables
-- can still take all of this away: that is what the hashes and the checkpoints outside are for.

create function flexcore_refuse() returns trigger language plpgsql as $$
begin
    raise exception '% of table % is refused: it is append-only', lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege',
              hint = 'What was recorded is never changed. Read models can be rebuilt, snapshots may be deleted.';
end
$$;
comment on function flexcore_refuse is 'The triggers of append-only tables.';

-- row by row, because that is what partitions inherit, also those that are attached later
create trigger append_only before update or delete on event for each row execute function flexcore_refuse();
create trigger append_only_truncate before truncate on event for each statement execute function flexcore_refuse();
create trigger append_only before update or delete or truncate on command
    for each statement execute function flexcore_refuse();
create trigger append_only before update or delete or truncate on merkle_tile
    for each statement execute function flexcore_refuse();
create trigger append_only before update or delete or truncate on checkpoint
    for each statement execute function flexcore_refuse();

-- Partitions do not inherit the trigger that refuses truncate.
create function flexcore_guard_partition(name text) returns void language plpgsql as $$
begin
    execute format('create or replace trigger append_only_truncate before truncate on %I
                    for each statement execute function flexcore_refuse()', name);
end
$$;
comment on function flexcore_guard_partition is 'Part of flexcore_add_partitions: refuses truncate of a partition.';

create or replace function flexcore_add_partitions(holding bigint) returns void language plpgsql as $$
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
            perform flexcore_guard_partition(name);
            execute format('alter table event attach partition %I for values from (%s) to (%s)',
                name, n * size, (n + 1) * size);
        end if;
        n := n + 1;
    end loop;
end
$$;

-- Lets a role run a node: it may read everything, write what can be built again, and call the functions, which are the
-- only way to write the rest. It may create nothing. To be called again after each migration.
create function flexcore_grant(p_role text) returns void language plpgsql as $$
declare
    v_schema   constant text := current_schema();
    v_table    record;
    v_function regprocedure;
begin
    execute format('revoke all on schema %I from %I', v_schema, p_role);
    execute format('grant usage on schema %I to %I', v_schema, p_role);
    for v_table in
        select c.oid::regclass as name, c.relname = any (array['snapshot', 'projection']) or c.relname like 'view\_%' as built
        from pg_class c
        where c.relnamespace = v_schema::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    loop
        execute format('revoke all on %s from %I', v_table.name, p_role);
        execute format('grant select on %s to %I', v_table.name, p_role);
        if v_table.built then
            execute format('grant insert, update, delete on %s to %I', v_table.name, p_role);
        end if;
    end loop;
    for v_function in
        select p.oid::regprocedure from pg_proc p
        where p.pronamespace = v_schema::regnamespace and p.proname like 'flexcore\_%' and p.proname <> 'flexcore_grant'
          and p.prorettype <> 'trigger'::regtype
    loop
        execute format('grant execute on function %s to %I', v_function, p_role);
    end loop;
end
$$;
comment on function flexcore_grant is 'Lets a role run a node, and nothing more: flexcore migrate --grant-to.';

-- The functions act as their owner, on this schema whatever the caller's search path says, and for nobody who was not
-- granted them. flexcore_grant alone acts as its caller.
do $$
declare
    v_function regprocedure;
    v_name     text;
begin
    for v_function, v_name in
        select p.oid::regprocedure, p.proname from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.proname like 'flexcore\_%'
    loop
        execute format('revoke execute on function %s from public', v_function);
        if v_name not in ('flexcore_grant', 'flexcore_refuse') then
            execute format('alter function %s security definer set search_path = %I, pg_temp', v_function, current_schema());
        end if;
    end loop;
    for v_name in select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'event'::regclass
    loop
        perform flexcore_guard_partition(v_name);
    end loop;
end
$$;
