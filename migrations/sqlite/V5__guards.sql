-- What keeps history as it is: events, commands, tiles and checkpoints are only ever added. Who may write the file can
-- drop these triggers: that is what the hashes and the checkpoints outside are for.

create trigger event_no_update before update on event
begin select raise(abort, 'update of table event is refused: it is append-only'); end;
create trigger event_no_delete before delete on event
begin select raise(abort, 'delete of table event is refused: it is append-only'); end;

create trigger command_no_update before update on command
begin select raise(abort, 'update of table command is refused: it is append-only'); end;
create trigger command_no_delete before delete on command
begin select raise(abort, 'delete of table command is refused: it is append-only'); end;

create trigger merkle_tile_no_update before update on merkle_tile
begin select raise(abort, 'update of table merkle_tile is refused: it is append-only'); end;
create trigger merkle_tile_no_delete before delete on merkle_tile
begin select raise(abort, 'delete of table merkle_tile is refused: it is append-only'); end;

create trigger checkpoint_no_update before update on checkpoint
begin select raise(abort, 'update of table checkpoint is refused: it is append-only'); end;
create trigger checkpoint_no_delete before delete on checkpoint
begin select raise(abort, 'delete of table checkpoint is refused: it is append-only'); end;
