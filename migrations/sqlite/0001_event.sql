-- Events and what finds them. Every key is an integer: eight bytes of an id or key, or a keyed hash of a tag. Whoever
-- reads an index checks the event itself, so that two things with one key are never mistaken for each other.

CREATE TABLE event (
  pos        INTEGER PRIMARY KEY, -- created_at << 29 | the first 29 bits of the id, inverted: descending is newest first, lowest id first
  seq        INTEGER NOT NULL,    -- order of saving, key of body
  head       BLOB NOT NULL,       -- id (32 bytes), author (32 bytes)
  kind       INTEGER NOT NULL,
  expires_at INTEGER              -- NIP-40, null for most
) STRICT;

CREATE INDEX event_expires ON event (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE body (
  seq  INTEGER PRIMARY KEY, -- as in event: bodies are appended, never inserted between others
  json ANY NOT NULL         -- canonical JSON: text as it is, a blob compressed with zstd
) STRICT;

CREATE TABLE event_id (
  id  INTEGER NOT NULL, -- first eight bytes
  pos INTEGER NOT NULL,
  PRIMARY KEY (id, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_kind (
  kind INTEGER NOT NULL,
  pos  INTEGER NOT NULL,
  PRIMARY KEY (kind, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_author (
  author INTEGER NOT NULL, -- first eight bytes of the key
  pos    INTEGER NOT NULL,
  PRIMARY KEY (author, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_author_kind (
  author INTEGER NOT NULL,
  kind   INTEGER NOT NULL,
  pos    INTEGER NOT NULL,
  PRIMARY KEY (author, kind, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_tag (
  tag INTEGER NOT NULL, -- keyed hash of letter and value
  pos INTEGER NOT NULL,
  PRIMARY KEY (tag, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_address (
  author INTEGER NOT NULL,
  kind   INTEGER NOT NULL, -- addressable kinds only
  d      INTEGER NOT NULL, -- keyed hash of the first d value
  pos    INTEGER NOT NULL,
  PRIMARY KEY (author, kind, d, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE deleted_id (
  id      BLOB NOT NULL, -- named by a deletion request, stored or not
  deleter BLOB NOT NULL, -- who signed the request
  PRIMARY KEY (id, deleter)
) STRICT, WITHOUT ROWID;

CREATE TABLE deleted_address (
  pubkey BLOB NOT NULL,
  kind   INTEGER NOT NULL,
  d      TEXT NOT NULL,
  until  INTEGER NOT NULL, -- created_at of the newest deletion request
  PRIMARY KEY (pubkey, kind, d)
) STRICT, WITHOUT ROWID;

CREATE TABLE vanished (
  pubkey BLOB PRIMARY KEY,
  until  INTEGER NOT NULL -- created_at of the newest request to vanish
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
  name  TEXT PRIMARY KEY, -- hash_key: 16 bytes. last_seq, search_seq: numbers
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('hash_key', randomblob(16)), ('last_seq', 0), ('search_seq', 0);

-- Words of the events up to meta.search_seq; the row id is event.seq.
CREATE VIRTUAL TABLE search USING fts5 (content, content = '', contentless_delete = 1, tokenize = 'unicode61');
