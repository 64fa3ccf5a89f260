-- What a node of V1 left: two streams with three events, a command, open work and a snapshot.
update shard set owner = 'node-a', epoch = 1;
insert into event (position, version, recorded_at, id, correlation_id, causation_id, schema_version, stream, kind, node, actor,
                   payload, payload_hash, leaf_hash)
values
    (1, 1, 1769860800000000, x'01890000000070008000000000000001', x'018900000000700080000000000000c0', null, 1, 'pipeline-kept',
     'PipelineCreated', 'node-a', 'ada', x'80', zeroblob(32), zeroblob(32)),
    (2, 2, 1769860800000000, x'01890000000070008000000000000002', x'018900000000700080000000000000c0', null, 1, 'pipeline-kept',
     'PipelineActivated', 'node-a', 'ada', x'80', zeroblob(32), zeroblob(32)),
    (3, 1, 1769860800000000, x'01890000000070008000000000000003', x'018900000000700080000000000000c0', null, 1, 'plugin-kept',
     'PluginRegistered', 'node-a', 'ada', x'80', zeroblob(32), zeroblob(32));
insert into stream (name, category, shard, head_version, leaf_hash)
values ('pipeline-kept', 'pipeline', 0, 2, zeroblob(32)), ('plugin-kept', 'plugin', 0, 1, zeroblob(32));
update log_head set next_position = 4, digest = zeroblob(32);
insert into command (stream, command_id, request_hash, first_version, events, position, committed_at, answer)
values ('pipeline-kept', x'018900000000700080000000000000c1', zeroblob(32), 0, 1, 1, 1769860800000000, x'');
insert into wakeup (stream, due) values ('pipeline-kept', 1769860800000000);
insert into snapshot (stream, version, schema_fingerprint, payload, taken_at)
values ('pipeline-kept', 2, zeroblob(32), x'80', 1769860800000000);
