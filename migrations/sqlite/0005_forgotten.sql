-- What must not come back, and requests to vanish that are under way.

-- The newest version of an address that left without a newer one: it expired, or was deleted by its id. Older ones stay
-- away, as they did while it was there. A newer one takes the place of the row.
CREATE TABLE last_version (
  pubkey     BLOB NOT NULL,
  kind       INTEGER NOT NULL,
  d          INTEGER NOT NULL, -- keyed hash of the d value, of an empty one for replaceable kinds
  created_at INTEGER NOT NULL,
  id         BLOB NOT NULL,
  PRIMARY KEY (pubkey, kind, d)
) STRICT, WITHOUT ROWID;

-- Gift wraps that went because the one they were for asked to vanish. Their times are made up, so only their ids tell them
-- from new ones: 32 bytes for a wrap that took a thousand or more.
CREATE TABLE vanished_wrap (
  id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Requests to vanish whose events are still being removed.
CREATE TABLE vanishing (
  seq    INTEGER PRIMARY KEY, -- of the request: later events stay
  pubkey BLOB NOT NULL,
  until  INTEGER NOT NULL     -- created_at of the request
) STRICT;
