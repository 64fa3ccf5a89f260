-- Everything in the schema public, one row a thing. The history of migrations differs by its times alone, so its table
-- is a thing like any other.
with ours as (
    select c.* from pg_class c where c.relnamespace = 'public'::regnamespace
)
select format('relation %s kind=%s options=%s access=%s bound=%s view=%s comment=%s', relname, relkind, reloptions, relacl,
              pg_get_expr(relpartbound, oid), case when relkind in ('v', 'm') then pg_get_viewdef(oid) end,
              obj_description(oid, 'pg_class'))
from ours
union all
select format('column %s.%s type=%s notnull=%s default=%s identity=%s generated=%s collation=%s comment=%s', c.relname, a.attname,
              format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
              a.attgenerated, a.attcollation::regcollation, col_description(c.oid, a.attnum))
from ours c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relkind in ('r', 'p', 'v', 'm')
union all
select format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
from pg_constraint where connamespace = 'public'::regnamespace
union all
select 'index: ' || pg_get_indexdef(i.indexrelid) from pg_index i join ours c on c.oid = i.indexrelid
union all
select format('trigger enabled=%s: %s', t.tgenabled, pg_get_triggerdef(t.oid))
from pg_trigger t join ours c on c.oid = t.tgrelid where not t.tgisinternal
union all
select format('function access=%s comment=%s: %s', p.proacl, obj_description(p.oid, 'pg_proc'), pg_get_functiondef(p.oid))
from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')
union all
select format('type %s: %s', t.typname, (select string_agg(e.enumlabel, ',' order by e.enumsortorder)
                                         from pg_enum e where e.enumtypid = t.oid))
from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd')
