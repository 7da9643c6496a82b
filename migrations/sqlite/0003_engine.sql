-- What slices compute in pico rooms, and what the engine needs to go on after a restart.

CREATE TABLE pico_state (
  state   INTEGER PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE, -- of the room; with a '*' behind it while the state is computed anew
  version INTEGER NOT NULL,     -- the largest that was given to an object
  step    INTEGER NOT NULL,     -- the largest that was given to a block
  objects INTEGER NOT NULL,     -- sums over objects and marks, for limits
  bytes   INTEGER NOT NULL
) STRICT;

CREATE TABLE pico_object (
  object  INTEGER PRIMARY KEY,
  state   INTEGER NOT NULL,
  slice   TEXT NOT NULL,
  id      TEXT NOT NULL,
  version INTEGER NOT NULL, -- rises with every change in the state
  expires INTEGER,          -- when the slice is asked whether it goes (ms)
  value   BLOB NOT NULL     -- as the slice wrote it
) STRICT;

CREATE UNIQUE INDEX pico_object_id ON pico_object (state, slice, id);

-- The order in which objects expire.
CREATE INDEX pico_object_expires ON pico_object (state, expires, version) WHERE expires IS NOT NULL;

-- Which objects keep which chains.
CREATE TABLE pico_reference (
  chain  INTEGER NOT NULL,
  object INTEGER NOT NULL, -- or -state: a slice that sees all blocks accepted one of this chain
  PRIMARY KEY (chain, object)
) STRICT, WITHOUT ROWID;

CREATE INDEX pico_reference_object ON pico_reference (object, chain);

-- Blocks by keys that slices gave them.
CREATE TABLE pico_index (
  state INTEGER NOT NULL,
  slice TEXT NOT NULL,
  key   BLOB NOT NULL,
  pos   INTEGER NOT NULL, -- as in pico_block
  PRIMARY KEY (state, slice, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX pico_index_pos ON pico_index (pos);

-- Times at which slices want to be called.
CREATE TABLE pico_mark (
  mark    INTEGER PRIMARY KEY,
  state   INTEGER NOT NULL,
  at      INTEGER NOT NULL, -- ms
  slice   TEXT NOT NULL,
  payload BLOB NOT NULL,
  block   BLOB NOT NULL,    -- id of the block that set it, which may be gone (64 bytes)
  chain   BLOB NOT NULL,    -- id of the first block of its chain (64 bytes)
  owner   BLOB NOT NULL     -- author of that (32 bytes)
) STRICT;

CREATE INDEX pico_mark_at ON pico_mark (state, at, mark);

-- Blocks that slices want to be asked about again.
CREATE TABLE pico_postponed (
  state  INTEGER NOT NULL,
  id     BLOB NOT NULL,    -- of the block (64 bytes)
  due    INTEGER NOT NULL, -- ms
  tries  INTEGER NOT NULL, -- how often it was postponed
  format INTEGER NOT NULL, -- as in pico_chain
  author BLOB NOT NULL,
  raw    BLOB NOT NULL,
  PRIMARY KEY (state, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX pico_postponed_due ON pico_postponed (state, due);

-- First blocks of chains that have expired, so that nobody brings them back.
CREATE TABLE pico_evicted (
  evicted INTEGER PRIMARY KEY, -- the lowest are forgotten first
  state   INTEGER NOT NULL,
  chain   BLOB NOT NULL,       -- id (64 bytes)
  UNIQUE (state, chain)
) STRICT;

-- The order in which the engine took blocks, and its time then (ms). Null for those of rooms without slices.
ALTER TABLE pico_block ADD COLUMN step INTEGER;
ALTER TABLE pico_block ADD COLUMN at INTEGER;
