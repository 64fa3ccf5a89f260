-- Events that are left out of a read model's rows. A rebuild folds them again; those of a generation go with its rows.
create table projection_parked (
    view       text    not null,
    generation integer not null,      -- of which rows: those that lists show, or those that are being built
    position   integer not null,
    error      text    not null,      -- why the event could not be folded
    parked_at  integer not null,
    primary key (view, generation, position)
) strict;
