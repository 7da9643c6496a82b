-- Pico rooms: chains of blocks. As for events, an index by id holds the first eight bytes, and whoever finds a block by
-- them checks the block itself.

CREATE TABLE pico_room (
  room   INTEGER PRIMARY KEY,  -- rooms without a chain have no row
  name   TEXT NOT NULL UNIQUE,
  blocks INTEGER NOT NULL,     -- sums over its chains, for quotas
  bytes  INTEGER NOT NULL,
  chains INTEGER NOT NULL
) STRICT;

CREATE TABLE pico_chain (
  chain    INTEGER PRIMARY KEY,
  room     INTEGER NOT NULL,
  format   INTEGER NOT NULL, -- major version of the picofeed that writes it: 8, 3, or 4 for POP-02
  owner    BLOB NOT NULL,    -- author of the first block (32 bytes)
  genesis  BLOB NOT NULL,    -- id of the first block (64 bytes)
  head     BLOB NOT NULL,    -- id of the last block (64 bytes)
  height   INTEGER NOT NULL, -- number of blocks
  bytes    INTEGER NOT NULL, -- of all blocks
  by_other INTEGER NOT NULL, -- number of blocks not written by the owner
  changed  INTEGER NOT NULL  -- rises within the room each time another chain gets a block
) STRICT;

-- One chain for each owner and format; the order in which chains are sent.
CREATE UNIQUE INDEX pico_chain_owner ON pico_chain (room, format, owner);

-- The order in which chains are discarded.
CREATE INDEX pico_chain_changed ON pico_chain (room, changed);

CREATE TABLE pico_block (
  pos    INTEGER PRIMARY KEY, -- chain << 24 | blocks before it: the blocks of a chain lie side by side, in order
  author BLOB,                -- who wrote it (32 bytes), null for the owner of the chain
  raw    BLOB NOT NULL        -- the block, without keys beside it
) STRICT;

CREATE TABLE pico_block_id (
  room INTEGER NOT NULL,
  id   INTEGER NOT NULL, -- first eight bytes
  pos  INTEGER NOT NULL,
  PRIMARY KEY (room, id, pos)
) STRICT, WITHOUT ROWID;

-- The last block that an author wrote on any chain.
CREATE TABLE pico_latest (
  room   INTEGER NOT NULL,
  format INTEGER NOT NULL,
  author BLOB NOT NULL,
  pos    INTEGER NOT NULL,
  PRIMARY KEY (room, format, author)
) STRICT, WITHOUT ROWID;
