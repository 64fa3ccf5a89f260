-- Run at each start, after the migrations: lets every function of the schema act as its owner, on this schema whatever
-- the caller's search path says, and for nobody who was not granted it. flexcore_grant alone acts as its caller, and
-- triggers are called by nobody. Where all is well nothing is changed, so that any role may run it.
do $$
declare
    v_function record;
begin
    for v_function in
        select p.oid::regprocedure as name, p.proname = 'flexcore_grant' or p.prorettype = 'trigger'::regtype as as_caller,
               has_function_privilege('public', p.oid, 'execute') as open, p.prosecdef as as_owner
        from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.proname like 'flexcore\_%'
    loop
        if v_function.open then
            execute format('revoke execute on function %s from public', v_function.name);
        end if;
        if not (v_function.as_caller or v_function.as_owner) then
            execute format('alter function %s security definer set search_path = %I, pg_temp',
                v_function.name, current_schema());
        end if;
    end loop;
end
$$
