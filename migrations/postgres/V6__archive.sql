-- Where the beginning of the log is when it is no longer in this database.

create table archive (
    first_position bigint      primary key,
    last_position  bigint      not null unique,
    file           text        not null,
    sha256         bytea       not null,
    archived_at    timestamptz not null,
    check (last_position >= first_position)
);
comment on table archive is 'Files that events were moved to, from the beginning of the log and without gaps. Rows are added only together with the removal of the partition that held them.';
comment on column archive.first_position is 'The position of the first event in the file.';
comment on column archive.last_position is 'The position of the last event in the file.';
comment on column archive.file is 'The file''s name in the directory for archives (archive.dir).';
comment on column archive.sha256 is 'Of the file''s bytes.';
comment on column archive.archived_at is 'When, by the database''s clock.';

-- Removes a partition whose events are in a file, and says where they are, at once. The lock on the log is short; the
-- caller bounds how long it is waited for.
create function flexcore_archive(
    p_partition text, p_first bigint, p_last bigint, p_file text, p_sha256 bytea
) returns void language plpgsql as $$
begin
    execute format('alter table event detach partition %I', p_partition);
    execute format('drop table %I', p_partition);
    insert into archive (first_position, last_position, file, sha256, archived_at)
    values (p_first, p_last, p_file, p_sha256, now());
end
$$;
comment on function flexcore_archive is 'Removes a partition whose events were copied to a verified file, and records the file.';
