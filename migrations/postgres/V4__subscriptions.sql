-- Durable subscriptions: how far each has come and who works for it; only the functions write. And what finds
-- events by their type and time.

create table subscription (
    name        text        collate "C" primary key,
    position    bigint      not null,
    epoch       bigint      not null,
    owner       text        collate "C",
    lease_until timestamptz,
    updated_at  timestamptz not null
) with (fillfactor = 50);
comment on table subscription is 'Durable subscriptions to the log: one owner at a time handles the events of each, in order.';
comment on column subscription.position is 'Everything up to here was handled, or parked.';
comment on column subscription.epoch is 'Rises with every grant of the lease: an earlier owner can change nothing.';
comment on column subscription.owner is 'The node that has the lease, or had it last; null after it was given back.';

create table parked_event (
    subscription text        collate "C" not null references subscription (name),
    position     bigint      not null,
    attempts     integer     not null,
    error        text        not null,
    parked_at    timestamptz not null,
    primary key (subscription, position)
);
comment on table parked_event is 'Events that a subscription could not handle, put aside so that the others go on.';

-- Grants the lease when it is free, has run out, or is the claimer's own. Answers one row: granted, then the row of
-- the subscription as it is now.
create function flexcore_claim_subscription(s_name text, s_owner text, lease_ms bigint) returns table (
    granted boolean, epoch bigint, "position" bigint, owner text, lease_until timestamptz
) language plpgsql as $$
#variable_conflict use_column
begin
    insert into subscription (name, position, epoch, updated_at) values (s_name, 0, 0, clock_timestamp())
    on conflict (name) do nothing;
    return query
        update subscription s set owner = s_owner, epoch = s.epoch + 1, updated_at = clock_timestamp(),
               lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
        where s.name = s_name
          and (s.owner is null or s.owner = s_owner or s.lease_until <= clock_timestamp())
        returning true, s.epoch, s.position, s.owner, s.lease_until;
    if not found then
        return query select false, s.epoch, s.position, s.owner, s.lease_until from subscription s where s.name = s_name;
    end if;
end
$$;
comment on function flexcore_claim_subscription is 'Grants the lease of a subscription when it is free, has run out, or is the claimer''s own.';

-- The following answer whether they were done: not when the epoch is no longer the subscription's.
create function flexcore_checkpoint(s_name text, s_epoch bigint, s_position bigint, lease_ms bigint) returns boolean
language sql as $$
    update subscription set position = greatest(position, s_position), updated_at = clock_timestamp(),
           lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
    where name = s_name and epoch = s_epoch
    returning true
$$;
comment on function flexcore_checkpoint is 'Moves a subscription''s checkpoint forward and renews its lease.';

create function flexcore_release_subscription(s_name text, s_epoch bigint) returns boolean language sql as $$
    update subscription set owner = null, lease_until = null, updated_at = clock_timestamp()
    where name = s_name and epoch = s_epoch
    returning true
$$;
comment on function flexcore_release_subscription is 'Gives the lease of a subscription back.';

-- The row of the subscription is locked first, so that a claim waits and no change of an earlier epoch follows it.
create function flexcore_park(s_name text, s_epoch bigint, s_position bigint, s_attempts integer, s_error text)
returns boolean language sql as $$
    with granted as (select from subscription where name = s_name and epoch = s_epoch for update)
    insert into parked_event (subscription, position, attempts, error, parked_at)
    select s_name, s_position, s_attempts, s_error, clock_timestamp() from granted
    on conflict (subscription, position) do update
       set attempts = excluded.attempts, error = excluded.error, parked_at = excluded.parked_at
    returning true
$$;
comment on function flexcore_park is 'Puts an event aside that a subscription could not handle.';

create function flexcore_unpark(s_name text, s_epoch bigint, s_position bigint) returns boolean language plpgsql as $$
begin
    perform from subscription where name = s_name and epoch = s_epoch for update;
    if not found then
        return false;
    end if;
    delete from parked_event where subscription = s_name and position = s_position;
    return true;
end
$$;
comment on function flexcore_unpark is 'Takes a parked event away, because it was handled after all.';

create index event_kind_position on event (kind, position);

-- Where a time lies in the log: the first position recorded at or after it. Times follow positions but for the
-- differences between the nodes' clocks, so it is found by halving, without an index; who asks allows for them.
create function flexcore_position_at(t timestamptz) returns bigint language plpgsql stable as $$
declare
    low  bigint := 1;
    high bigint;
    mid  bigint;
    seen record;
begin
    select next_position into high from log_head;
    while low < high loop
        mid := low + (high - low) / 2;
        select e.position, e.recorded_at into seen from event e where e.position >= mid order by e.position limit 1;
        if not found or seen.recorded_at >= t then
            high := mid;
        else
            low := seen.position + 1;
        end if;
    end loop;
    return low;
end
$$;
comment on function flexcore_position_at is 'The first position recorded at or after a time, but for the differences between the nodes'' clocks.';
drop index event_recorded_at;
