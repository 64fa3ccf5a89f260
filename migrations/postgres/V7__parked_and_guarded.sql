-- Events that a read model could not take in; and what a role may do, said again for tables and functions that came since.
-- (Whatever migration makes a function: each start of a node sees to it that it acts as its owner and is nobody's but
-- theirs to whom it was granted.)

create table projection_parked (
    view       text        collate "C" not null,
    generation integer     not null,
    position   bigint      not null,
    error      text        not null,
    parked_at  timestamptz not null,
    primary key (view, generation, position)
);
comment on table projection_parked is 'Events that are left out of a read model''s rows. A rebuild folds them again; those of a generation go with its rows.';
comment on column projection_parked.generation is 'Of which rows: those that lists show, or those that are being built.';
comment on column projection_parked.error is 'Why the event could not be folded.';

alter table archive add constraint archive_file_is_a_bare_name
    check (file !~ '/' and file not in ('', '.', '..'));

-- Made anew, so that nobody has it who was granted the functions before: it is the one that takes events away.
drop function flexcore_archive(text, bigint, bigint, text, bytea);
create function flexcore_archive(
    p_partition text, p_first bigint, p_last bigint, p_file text, p_sha256 bytea
) returns void language plpgsql as $$
declare
    v_bounds  text[];
    v_before  constant bigint := (select coalesce(max(last_position), 0) from archive);
    v_covered constant bigint := (select coalesce(max(size), 0) from checkpoint);
begin
    -- who may call this may take away the beginning of the log once it is sealed, and nothing else
    select regexp_match(pg_get_expr(c.relpartbound, c.oid), '\(''?(\d+)''?\) TO \(''?(\d+)''?\)') into v_bounds
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'event'::regclass and c.relname = p_partition;
    if v_bounds is null or p_first <> greatest(v_bounds[1]::bigint, 1) or p_last <> v_bounds[2]::bigint - 1 then
        raise exception '% is not the partition of the events % to %', p_partition, p_first, p_last
            using errcode = 'invalid_parameter_value';
    end if;
    if p_first <> v_before + 1 or p_last > v_covered then
        raise exception 'the events % to % cannot be archived: % are archived, a checkpoint covers %',
            p_first, p_last, v_before, v_covered using errcode = 'invalid_parameter_value';
    end if;
    execute format('alter table event detach partition %I', p_partition);
    execute format('drop table %I', p_partition);
    insert into archive (first_position, last_position, file, sha256, archived_at)
    values (p_first, p_last, p_file, p_sha256, now());
end
$$;
comment on function flexcore_archive is 'Removes the oldest partition, whose events were copied to a verified file, and records the file. Not for the role of a node: flexcore_grant leaves it out.';

create or replace function flexcore_grant(p_role text) returns void language plpgsql as $$
declare
    v_schema   constant text := current_schema();
    v_built    constant text[] := array['snapshot', 'projection', 'projection_parked'];
    v_kept     constant text[] := array['flexcore_grant', 'flexcore_archive'];
    v_table    record;
    v_function regprocedure;
begin
    execute format('revoke all on schema %I from %I', v_schema, p_role);
    execute format('grant usage on schema %I to %I', v_schema, p_role);
    for v_table in
        select c.oid::regclass as name, c.relname = any (v_built) or c.relname like 'view\_%' as built
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
        where p.pronamespace = v_schema::regnamespace and p.proname like 'flexcore\_%' and p.proname <> all (v_kept)
          and p.prorettype <> 'trigger'::regtype
    loop
        execute format('grant execute on function %s to %I', v_function, p_role);
    end loop;
end
$$;
