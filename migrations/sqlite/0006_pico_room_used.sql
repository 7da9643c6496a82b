-- When a room got its last new block (unix seconds): of two rooms that hold as little, the one that has gone longer without
-- a new block gives way first.
ALTER TABLE pico_room ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
