-- Words of the events up to meta.search_seq, made anew: what is looked for is found in every script, and in the order of
-- time. The writer fills it behind the writes.

DROP TABLE search;

-- The row id is event.pos. `terms` are what relay/src/search.rs makes of an event, between spaces; only in which events each
-- is, since matches are checked by what the event says.
CREATE VIRTUAL TABLE search USING fts5 (
  terms, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);

UPDATE meta SET value = 0 WHERE name = 'search_seq';

-- search_made: text, which terms of which kinds are in the index. With other ones it is made anew.
INSERT INTO meta VALUES ('search_made', '');
