//! A profile: kind 0.

use serde_json::{Map, json};

use super::Subject;
use crate::Draft;

/// A record of one of the collections apps keep profiles in, with a name. Others' fields (`nip05`, payment addresses) are
/// left out: the bridge cannot vouch for them.
pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    let record = subject.record()?;
    if !COLLECTIONS.contains(&record.collection.as_str()) {
        return None;
    }
    let text = |names: &[&str]| {
        let text = record.payload.any_field(names)?.as_text()?.trim();
        (!text.is_empty() && text.len() <= FIELD_BYTES_MAX).then_some(text)
    };
    let mut profile = Map::new();
    profile.insert("name".to_owned(), json!(text(&["name", "nick", "nickname", "alias"])?));
    if let Some(about) = text(&["about", "bio", "tagline", "description"]) {
        profile.insert("about".to_owned(), json!(about));
    }
    let is_link = |text: &&str| text.starts_with("https://") || text.starts_with("http://");
    if let Some(picture) = text(&["picture", "avatar", "image"]).filter(is_link) {
        profile.insert("picture".to_owned(), json!(picture));
    }
    let content = serde_json::Value::Object(profile).to_string();
    Some(subject.copy(METADATA, record.date, Vec::new(), content, "Profile from a pico feed"))
}

pub(super) const METADATA: u16 = 0;
const COLLECTIONS: &[&str] = &["profile", "profiles", "peer", "peers", "user", "users"];
const FIELD_BYTES_MAX: usize = 2048;
