//! Full-text search (NIP-50) on FTS5, indexed behind the write path.

use rusqlite::{Connection, TransactionBehavior, params};

use super::rows::{Rows, place};
use crate::config::Search;
use crate::event::Event;
use crate::filter::{Filter, search_words};
use crate::store::{Query, Row, StoreError, TagSearch};

/// Events that one step of indexing takes.
const STEP: i64 = 200;

/// Indexes some events after `done`, and says up to where it came.
pub(super) fn index_some(db: &mut Connection, search: &Search, done: i64, last: i64) -> Result<i64, StoreError> {
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let reached;
    {
        let mut bodies = step.prepare_cached("SELECT seq, json FROM body WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let mut insert = step.prepare_cached("INSERT INTO search (rowid, content) VALUES (?1, ?2)")?;
        let mut rows = bodies.query(params![done, STEP])?;
        let mut seen = 0;
        let mut at = done;
        while let Some(row) = rows.next()? {
            seen += 1;
            at = row.get(0)?;
            let Ok(event) = Event::parse(&super::body::json(row.get_ref(1)?)?) else { continue };
            if search.kinds.contains(&event.kind) {
                insert.execute(params![at, words_of(&event)])?;
            }
        }
        reached = if seen < STEP { last } else { at };
        step.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'search_seq'")?.execute([reached])?;
    }
    step.commit()?;
    Ok(reached)
}

/// What is searched in an event: its content and, where an event has them, title, summary and hashtags.
fn words_of(event: &Event) -> String {
    let mut text = event.content().into_owned();
    for tag in event.tags.iter() {
        if matches!(tag.name(), "title" | "summary" | "subject" | "t") {
            text.push('\n');
            text.push_str(tag.value().unwrap_or_default());
        }
    }
    text
}

/// Turns what a person typed into an FTS5 query: all words must occur. `key:value` words are extensions that this relay
/// does not know, and are ignored as NIP-50 asks. `None` when nothing is left.
pub(super) fn query(typed: &str) -> Option<String> {
    let words: Vec<String> =
        search_words(typed).into_iter().map(|word| format!("\"{}\"", word.replace(['"', '\0'], " "))).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Appends the best matches of a search, by relevance, and of equal ones the newest.
pub(super) fn find(
    source: &Rows<'_>,
    query: &Query,
    filter: &Filter,
    words: &str,
    limit: usize,
    candidates_max: usize,
    rows: &mut Vec<Row>,
) -> Result<(), StoreError> {
    let db = source.db;
    let mut find =
        // Ranking what every event says would take ever longer: the newest with all the words are ranked.
        db.prepare_cached(
            "SELECT seq FROM (SELECT rowid AS seq, rank AS score FROM search WHERE search MATCH ?1
                              ORDER BY rowid DESC LIMIT ?2)
             ORDER BY score, seq DESC",
        )?;
    let mut ranked = find.query(params![words, i64::try_from(candidates_max).unwrap_or(i64::MAX)])?;
    let (before, tags) = (rows.len(), TagSearch::of(filter));
    while let Some(hit) = ranked.next()? {
        let seq: i64 = hit.get(0)?;
        let Some(pos) = place(db, seq)? else { continue };
        let Some((_, Some(found))) = source.load(pos, query)? else { continue };
        if found.matches(filter, &tags) && rows.iter().all(|row| row.id != found.row.id) {
            rows.push(found.row);
        }
        if rows.len() - before >= limit {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_people_type() {
        assert_eq!(query("best nostr apps").as_deref(), Some(r#""best" "nostr" "apps""#));
        assert_eq!(
            query(r#"a"b OR* (c language:en https://x.y"#).as_deref(),
            Some(r#""a b" "OR*" "(c" "https://x.y""#)
        );
        assert_eq!(query("language:en  !! "), None);
    }
}
