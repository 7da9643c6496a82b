//! A POP-04 page: a long-form article (kind 30023, NIP-23) with the title and text of the page and a link to the silo.
//!
//! The silo has one page per key, so the article has one address per author.

use super::Subject;
use crate::{
    Body, Draft,
    event::tag,
    html::{self, Text},
};

pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    let (Body::Page(page), Some(silo)) = (&subject.body, subject.context.silo) else { return None };
    let author = subject.block.author().to_string();
    let link = format!("{silo}/{author}");
    let Text { title, lines } = html::text(page.document(), TEXT_CHARS_MAX);
    let title = title.unwrap_or_else(|| format!("Page of {}", author.get(..8).unwrap_or_default()));
    let summary: String = lines.join(" ").chars().take(SUMMARY_CHARS_MAX).collect();

    let mut tags = vec![tag(["d", &author]), tag(["title", &title])];
    if !summary.is_empty() {
        tags.push(tag(["summary", &summary]));
    }
    tags.extend(page.date().map(|ms| tag(["published_at", &(ms / 1000).to_string()])));
    tags.push(tag(["r", &link]));

    let mut content = format!("[{}]({link})", escape(&title));
    for line in &lines {
        content.push_str("\n\n");
        content.push_str(&escape(line));
    }
    let alt = format!("A web page published to a pico feed: {link}");
    Some(subject.copy(ARTICLE, page.date(), tags, content, &alt))
}

/// The text, so that Markdown takes none of it for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, letter) in text.chars().enumerate() {
        if MARKUP.contains(letter) || (at == 0 && "-+=".contains(letter)) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

pub(super) const ARTICLE: u16 = 30023;
const MARKUP: &str = r"\`*_[]<>#&|~!";
const TEXT_CHARS_MAX: usize = 4000;
const SUMMARY_CHARS_MAX: usize = 200;
