-- What a node of V1 left: two streams with three events, a command, open work and a snapshot.
update shard set owner = 'node-a', epoch = 1;
insert into event (position, version, recorded_at, id, correlation_id, causation_id, schema_version, stream, kind, node, actor,
                   payload, payload_hash, leaf_hash)
select position, version, '2026-01-31T12:00:00Z', id, '01890000-0000-7000-8000-0000000000c0', null, 1, stream, kind, 'node-a', 'ada',
       decode('80', 'hex'), sha256(decode('80', 'hex')), sha256(stream::bytea || version::text::bytea)
from (values
    (1, 1, '01890000-0000-7000-8000-000000000001'::uuid, 'pipeline-kept', 'PipelineCreated'),
    (2, 2, '01890000-0000-7000-8000-000000000002'::uuid, 'pipeline-kept', 'PipelineActivated'),
    (3, 1, '01890000-0000-7000-8000-000000000003'::uuid, 'plugin-kept', 'PluginRegistered')
) as e (position, version, id, stream, kind);
insert into stream (name, head_version, shard, category, leaf_hash)
select stream, max(version), 0, split_part(stream, '-', 1), (array_agg(leaf_hash order by version desc))[1]
from event group by stream;
update log_head set next_position = 4, digest = sha256('three events'::bytea);
insert into command (stream, command_id, first_version, position, committed_at, events, request_hash, answer)
values ('pipeline-kept', '01890000-0000-7000-8000-0000000000c1', 0, 1, '2026-01-31T12:00:00Z', 1, sha256('asked'::bytea), '');
insert into wakeup (stream, due) values ('pipeline-kept', '2026-01-31T12:00:00Z');
insert into snapshot (stream, version, taken_at, schema_fingerprint, payload)
values ('pipeline-kept', 2, '2026-01-31T12:00:00Z', sha256('shape'::bytea), decode('80', 'hex'));
