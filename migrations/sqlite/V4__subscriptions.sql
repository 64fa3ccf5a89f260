-- Durable subscriptions: how far each has come and who works for it. And what finds events by their type.

create table subscription (
    name        text    primary key,
    position    integer not null,               -- everything up to here was handled, or parked
    epoch       integer not null,               -- rises with every grant: an earlier owner can change nothing
    owner       text,                           -- who has the lease, or had it last; null after it was given back
    lease_until integer,
    updated_at  integer not null
) strict, without rowid;

-- Events that a subscription could not handle, put aside so that the others go on.
create table parked_event (
    subscription text    not null references subscription (name),
    position     integer not null,
    attempts     integer not null,
    error        text    not null,
    parked_at    integer not null,
    primary key (subscription, position)
) strict, without rowid;

create index event_kind_position on event (kind, position);
