-- What the bridge still has to do. Rows are written in the transaction that makes them necessary, and removed when the
-- work is done, so that a crash in between loses nothing.

-- Blocks that were stored in a room and are to become events, in that order.
CREATE TABLE bridge_out (
  number   INTEGER PRIMARY KEY,
  room     TEXT NOT NULL,
  block    BLOB NOT NULL,    -- id (64 bytes); the block may be gone by now
  accepted INTEGER NOT NULL, -- when it was stored, unix seconds
  origin   INTEGER NOT NULL  -- 0: a peer brought it, 1: an event
) STRICT;

-- Events that were stored and are to go into rooms, in that order.
CREATE TABLE bridge_in (
  seq INTEGER PRIMARY KEY -- as in event and body; the event may be gone by now
) STRICT;

-- As in bridge_out; null if the block is not to become events.
ALTER TABLE pico_postponed ADD COLUMN origin INTEGER;

-- What rooms hold already is carried, too. The id is the signature: behind the flags in POP-02.
INSERT INTO bridge_out (room, block, accepted, origin)
  SELECT name, substr(raw, CASE format WHEN 4 THEN 2 ELSE 1 END, 64), unixepoch(), 0
  FROM pico_block JOIN pico_chain ON chain = pos >> 24 JOIN pico_room ON pico_room.room = pico_chain.room
  ORDER BY pos;
