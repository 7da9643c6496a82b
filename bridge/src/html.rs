//! What is asked of HTML: whether it has scripts, and what it says without markup.

use html5gum::{
    Span, Tokenizer,
    emitters::callback::{CallbackEmitter, CallbackEvent},
};

/// Whether there is a script element.
///
/// Which tags are elements depends on where they stand: `<script>` in `<title>` is text, but not if that is in `<svg>`.
/// The document is therefore read both ways, and one script is enough.
pub(crate) fn has_script(document: &[u8]) -> bool {
    [false, true].into_iter().any(|raw_text| {
        let mut found = false;
        walk(document, raw_text, |event| {
            found |= matches!(event, CallbackEvent::OpenStartTag { name: b"script" });
            !found
        });
        found
    })
}

/// What a document says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// Its title, or first heading.
    pub(crate) title: Option<String>,
    /// Its text, a line for each block element; no markup.
    pub(crate) lines: Vec<String>,
}

/// The text of a document, up to about `chars_max` characters of it.
pub(crate) fn text(document: &[u8], chars_max: usize) -> Text {
    let mut reading = Reading { chars_left: chars_max, ..Reading::default() };
    let beginning = document.get(..READ_BYTES_MAX).unwrap_or(document);
    walk(beginning, true, |event| {
        match event {
            CallbackEvent::OpenStartTag { name } => reading.open(name),
            CallbackEvent::EndTag { name } => reading.close(name),
            CallbackEvent::String { value } => reading.string(&String::from_utf8_lossy(value)),
            _ => {}
        }
        reading.chars_left > 0
    });
    reading.end_line();
    Text { title: reading.title.or(reading.heading), lines: reading.lines }
}

/// Reads tokens until `more` says no.
fn walk(document: &[u8], raw_text: bool, mut more: impl FnMut(CallbackEvent<'_>) -> bool) {
    let mut emitter =
        CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| if more(event) { None } else { Some(()) });
    emitter.naively_switch_states(raw_text);
    // The first token is the end: none are made before.
    let _ = Tokenizer::new_with_emitter(document, emitter).next();
}

#[derive(Default)]
struct Reading {
    title: Option<String>,
    heading: Option<String>,
    lines: Vec<String>,
    line: String,
    inside: Inside,
    chars_left: usize,
}

#[derive(Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Body,
    Title,
    Hidden,
}

impl Reading {
    fn open(&mut self, name: &[u8]) {
        match name {
            b"title" => self.inside = Inside::Title,
            b"script" | b"style" | b"noscript" | b"template" => self.inside = Inside::Hidden,
            name if !INLINE.contains(&name) => self.end_line(),
            _ => {}
        }
    }

    fn close(&mut self, name: &[u8]) {
        match name {
            b"title" | b"script" | b"style" | b"noscript" | b"template" => self.inside = Inside::Body,
            b"h1" | b"h2" | b"h3" => {
                self.heading = self.heading.take().or_else(|| heading(&self.line));
                self.end_line();
            }
            name if !INLINE.contains(&name) => self.end_line(),
            _ => {}
        }
    }

    fn string(&mut self, text: &str) {
        match self.inside {
            Inside::Hidden => {}
            Inside::Title => self.title = self.title.take().or_else(|| heading(text)),
            Inside::Body => {
                let before = self.line.len();
                self.line.extend(text.chars().take(self.chars_left));
                let added = self.line.get(before..).map_or(0, |added| added.chars().count());
                self.chars_left = self.chars_left.saturating_sub(added);
            }
        }
    }

    fn end_line(&mut self) {
        let line = collapse(&std::mem::take(&mut self.line));
        if !line.is_empty() {
            self.lines.push(line);
        }
    }
}

/// What is left of a title, if anything.
fn heading(text: &str) -> Option<String> {
    let text: String = collapse(text).chars().take(TITLE_CHARS_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// Without control characters, and with one space for any amount of white space.
fn collapse(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Elements that do not end a line.
const INLINE: &[&[u8]] = &[
    b"a", b"abbr", b"b", b"bdi", b"bdo", b"cite", b"code", b"em", b"font", b"i", b"img", b"kbd", b"mark", b"q", b"s",
    b"small", b"span", b"strong", b"sub", b"sup", b"time", b"u", b"var", b"wbr",
];

const TITLE_CHARS_MAX: usize = 200;

/// How much of a document is looked at for its text. Some are all markup.
const READ_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_wherever_they_count() {
        for document in
            ["<script>", "<p><ScRiPt x=y>", "<title><!--</title><script>", "<svg><style><script>", "<!--><script>"]
        {
            assert!(has_script(document.as_bytes()), "{document}");
        }
        for document in
            ["", "script", "&lt;script>", "<!-- <script> -->", "<scripts>", "<a title='<script>'>", "</script>"]
        {
            assert!(!has_script(document.as_bytes()), "{document}");
        }
    }

    #[test]
    fn text_is_what_a_reader_sees() {
        let read = text(
            b"<title>A &amp;\n B</title><style>p{}</style><h1>Big</h1><p>one <b>two</b>\n three<br>four<script>x</script>",
            1000,
        );
        assert_eq!(read.title.as_deref(), Some("A & B"));
        assert_eq!(read.lines, ["Big", "one two three", "four"]);
        assert_eq!(text(b"<h2>Big</h2>", 1000).title.as_deref(), Some("Big"));
        assert_eq!(text(b"<title>A</title><svg><title>B</title>", 1000).title.as_deref(), Some("A"));
        assert_eq!(text(b"<p>0123456789", 4).lines, ["0123"]);
        assert_eq!(text(b"\xff<p>", 4).lines, ["\u{fffd}"]);
    }
}
