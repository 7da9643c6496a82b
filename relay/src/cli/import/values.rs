//! Events in a text, one after the other: one a line, pretty-printed, or in an array; also messages such as `["EVENT",{..}]`.
//!
//! Only as much is read as the event at hand needs. A line that is wrong costs itself, and the next one is read as if it were the
//! first, for a file of a million lines must not be lost by a brace that one of them lacks.

use std::io::{self, Read};

use memchr::{memchr, memchr3};
use smallvec::SmallVec;

/// A value longer than this is no event.
const BYTES_MAX: usize = 32 << 20;

/// Brackets in brackets that are followed. An event has three levels.
const DEPTH_MAX: usize = 128;

/// Bytes in which nothing was found, after which it is not looked for any more: a file of other things, or a few bytes that
/// decompress into terabytes.
const BARREN_BYTES_MAX: usize = 256 << 20;

/// How far behind a `[` it is looked what the list holds.
const LOOK_BYTES: usize = 4096;

/// What is read at a time.
const READ_BYTES: usize = 1 << 16;

/// Takes values from a text.
pub(super) struct Values<R> {
    input: R,
    /// What was read and is still needed.
    window: Vec<u8>,
    /// Where the rest begins in `window`.
    at: usize,
    line: u64,
    /// The line in which an array of events began that has not ended.
    array: Option<u64>,
    /// Bytes since the last value.
    barren: usize,
}

/// Something in the text.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Value<'a> {
    /// `{..}`. Its brackets match; whether it is JSON is not known.
    Object(&'a [u8]),
    /// `[..]`, the same.
    Message(&'a [u8]),
    /// What it is not.
    Wrong(&'static str),
}

/// How a value ended, or where it was found to be none.
enum End {
    Whole(usize),
    Wrong(&'static str, usize),
    TooLong(usize),
}

impl<R: Read> Values<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, window: Vec::new(), at: 0, line: 1, array: None, barren: 0 }
    }

    /// The next value, with its line. None at the end.
    pub(super) fn next_value(&mut self) -> io::Result<Option<(u64, Value<'_>)>> {
        loop {
            let Some(byte) = self.peek(0)? else {
                let cut = self.array.take();
                return Ok(cut.map(|line| (line, Value::Wrong("the array that begins here does not end"))));
            };
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                // 0x1e separates texts in JSON sequences (RFC 7464).
                b' ' | b'\t' | b'\r' | b',' | 0x1e => self.at += 1,
                // Files that begin with a byte order mark may have been joined.
                0xef if self.peek(1)? == Some(0xbb) && self.peek(2)? == Some(0xbf) => self.at += 3,
                b'{' => return self.value(),
                b'[' if self.array.is_some() || self.is_message()? => return self.value(),
                b'[' => {
                    self.array = Some(self.line);
                    self.at += 1;
                }
                b']' if self.array.is_some() => {
                    self.array = None;
                    self.at += 1;
                }
                _ => {
                    let line = self.line;
                    self.skip_line(self.at)?;
                    return Ok(Some((line, Value::Wrong("this is no JSON object"))));
                }
            }
        }
    }

    /// Whether the list that begins here starts with a string, as messages do.
    fn is_message(&mut self) -> io::Result<bool> {
        for ahead in 1..LOOK_BYTES {
            match self.peek(ahead)? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                first => return Ok(first == Some(b'"')),
            }
        }
        Ok(false)
    }

    /// Takes the value that begins here.
    fn value(&mut self) -> io::Result<Option<(u64, Value<'_>)>> {
        let line = self.line;
        let is_object = self.peek(0)? == Some(b'{');
        match self.find_end()? {
            End::Whole(end) => {
                let start = std::mem::replace(&mut self.at, end);
                self.barren = 0;
                let bytes = self.window.get(start..end).unwrap_or_default();
                self.line += newlines(bytes);
                Ok(Some((line, if is_object { Value::Object(bytes) } else { Value::Message(bytes) })))
            }
            End::TooLong(end) => {
                self.at = end;
                Ok(Some((line, Value::Wrong("it is too long for an event"))))
            }
            End::Wrong(why, seen) => {
                // The list that began in this line was none either.
                if self.array == Some(line) {
                    self.array = None;
                }
                self.skip_line(seen)?;
                Ok(Some((line, Value::Wrong(why))))
            }
        }
    }

    /// Looks for the bracket that closes the one at `at`. Beside the brackets it looks at what stands before each, since a
    /// value whose end is missing would otherwise swallow the lines behind it.
    fn find_end(&mut self) -> io::Result<End> {
        const CUT: &str = "it does not end";
        let mut open: SmallVec<[u8; 16]> = SmallVec::new();
        let mut is_string = false;
        // The last byte of what is outside of strings and white space; a letter or digit stands for all of them.
        let mut before = b':';
        let mut is_too_long = false;
        let mut at = self.at;
        loop {
            if at - self.at > BYTES_MAX {
                is_too_long = true;
            }
            if is_too_long {
                // Nothing of it is needed any more.
                self.line += newlines(self.window.get(self.at..at).unwrap_or_default());
                self.at = at;
            }
            if at >= self.window.len() {
                let kept = at - self.at;
                if !self.fill()? {
                    return Ok(End::Wrong(CUT, self.window.len()));
                }
                at = self.at + kept;
                continue;
            }
            let rest = self.window.get(at..).unwrap_or_default();
            if is_string {
                let Some(found) = memchr3(b'"', b'\\', b'\n', rest) else {
                    at = self.window.len();
                    continue;
                };
                match rest.get(found) {
                    Some(b'"') => {
                        is_string = false;
                        at += found + 1;
                    }
                    // What is escaped may not have been read yet, but is skipped all the same.
                    Some(b'\\') if found + 1 < rest.len() => at += found + 2,
                    Some(b'\\') => {
                        let kept = at + found - self.at;
                        if !self.fill()? {
                            return Ok(End::Wrong(CUT, self.window.len()));
                        }
                        at = self.at + kept;
                    }
                    _ => return Ok(End::Wrong("a line ends inside a string", at + found)),
                }
                continue;
            }
            let Some(&byte) = rest.first() else { continue };
            let starts = match byte {
                b'"' => matches!(before, b'{' | b'[' | b',' | b':'),
                b'[' => matches!(before, b'[' | b':') || before == b',' && open.last() == Some(&b'['),
                b'{' => matches!(before, b'[' | b':') || before == b',' && open.last() == Some(&b'['),
                _ => true,
            };
            if !starts || open.len() > DEPTH_MAX {
                return Ok(End::Wrong("this is no JSON", at));
            }
            match byte {
                b'"' => is_string = true,
                b'{' | b'[' => open.push(byte),
                b'}' | b']' => {
                    if open.pop().map(|open| open + 2) != Some(byte) {
                        return Ok(End::Wrong("this is no JSON", at));
                    }
                    if open.is_empty() {
                        return Ok(if is_too_long { End::TooLong(at + 1) } else { End::Whole(at + 1) });
                    }
                }
                b'\n' if is_too_long && self.array.is_none() => return Ok(End::TooLong(at)),
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
            at += 1;
        }
    }

    /// Goes to the line behind the one that begins at `at`. Everything up to `seen` was looked at.
    fn skip_line(&mut self, seen: usize) -> io::Result<()> {
        let looked_at = self.window.get(self.at..seen).unwrap_or_default();
        if let Some(end) = memchr(b'\n', looked_at) {
            self.at += end + 1;
            self.line += 1;
            return Ok(());
        }
        self.at = seen;
        loop {
            let rest = self.window.get(self.at..).unwrap_or_default();
            if let Some(end) = memchr(b'\n', rest) {
                self.at += end + 1;
                self.line += 1;
                return Ok(());
            }
            self.at = self.window.len();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// A byte behind `at`. None behind the end.
    fn peek(&mut self, ahead: usize) -> io::Result<Option<u8>> {
        while self.at + ahead >= self.window.len() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(self.window.get(self.at + ahead).copied())
    }

    /// Reads more, and forgets what lies before `at`, which becomes 0. False at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.barren > BARREN_BYTES_MAX {
            let why = format!("{} MiB in which there is no event", BARREN_BYTES_MAX >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.window.drain(..self.at);
        self.at = 0;
        let len = self.window.len();
        self.window.resize(len + READ_BYTES, 0);
        let read = loop {
            match self.input.read(self.window.get_mut(len..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.window.truncate(len + count);
        self.barren += count;
        read.map(|count| count > 0)
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Few<'a>(&'a [u8], usize);

    impl Read for Few<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(self.1);
            self.0.read(&mut buffer[..len])
        }
    }

    /// Line and text of each value; `!` stands for one that is wrong.
    fn found(text: &str) -> Vec<(u64, String)> {
        let of = |step: usize| {
            let mut values = Values::new(Few(text.as_bytes(), step));
            let mut found = Vec::new();
            while let Some((line, value)) = values.next_value().unwrap() {
                found.push((
                    line,
                    match value {
                        Value::Object(bytes) | Value::Message(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                        Value::Wrong(_) => "!".to_owned(),
                    },
                ));
            }
            found
        };
        let whole = of(usize::MAX);
        for step in [1, 2, 7] {
            assert_eq!(of(step), whole, "{step} bytes at a time: {text:.200}");
        }
        whole
    }

    #[test]
    fn values_in_all_forms() {
        let event = r#"{"tags":[["a","}]"],["b\"{"]],"content":"[\\"}"#;
        let pretty = "{\n  \"tags\": [\n    [\"a\"],\n    []\n  ],\n  \"kind\": 1\n}";
        let message = format!(r#"["EVENT","sub",{event}]"#);
        for (text, expected) in [
            (String::new(), vec![]),
            ("\u{feff}".into(), vec![]),
            ("\n \r\n\t\n".into(), vec![]),
            (event.into(), vec![(1, event)]),
            (format!("{event}\r\n\n{event}\n"), vec![(1, event), (3, event)]),
            (format!("\u{feff}{event}\n\u{feff}{event}\n"), vec![(1, event), (2, event)]),
            (format!("{event}{event} {event}"), vec![(1, event); 3]),
            (format!("{pretty}\n{pretty}\n{event}"), vec![(1, pretty), (8, pretty), (15, event)]),
            (format!("[{event},{event}]"), vec![(1, event); 2]),
            (format!("[\n{event},\n{pretty}\n,{event}\n]\n"), vec![(2, event), (3, pretty), (10, event)]),
            (format!("[]\n[ ]\n{event}"), vec![(3, event)]),
            (format!("[{event}]\n[{event}]"), vec![(1, event), (2, event)]),
            (message.clone(), vec![(1, message.as_str())]),
            (format!("{message}\n[ \"EOSE\",\"sub\"]\n"), vec![(1, message.as_str()), (2, "[ \"EOSE\",\"sub\"]")]),
            (format!("[{message},\n{message}]"), vec![(1, message.as_str()), (2, message.as_str())]),
            (format!("\u{1e}{event}\n\u{1e}{event}\n"), vec![(1, event), (2, event)]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(line, text)| (line, text.to_owned())).collect();
            assert_eq!(found(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_line_costs_itself() {
        let event = r#"{"content":"x"}"#;
        let deep = "[".repeat(100_000);
        for wrong in [
            "not JSON",
            "{",
            "{\"id\":1",
            "{\"id\":",
            "{\"id\":[[1,",
            "{\"id\":\"x",
            "{\"id\":\"x\\",
            "{]",
            "{\"a\":1}}",
            "}",
            "]",
            "\"x\"",
            "{\"tags\":[{]}",
            "[[[[",
            deep.as_str(),
        ] {
            let text = format!("{event}\n{wrong}\n{event}\n{event}\n");
            let found = found(&text);
            let right: Vec<u64> = found.iter().filter(|(_, text)| text == event).map(|(line, _)| *line).collect();
            assert_eq!(right, [1, 3, 4], "{wrong:.20}: {found:.300?}");
            assert!(found.iter().any(|(line, text)| text == "!" && *line == 2), "{wrong:.20}: {found:.300?}");
        }
        // The end of the file is missing.
        let cut = found(&format!("[{event},{event},\n{event}"));
        assert_eq!(cut.last(), Some(&(1, "!".to_owned())), "{cut:?}");
        assert_eq!(cut.len(), 4);
        let cut = found(&format!("[{event},{{\"content\":\"x"));
        assert_eq!(cut, [(1, event.to_owned()), (1, "!".to_owned())]);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let event = r#"{"content":"x"}"#;
        let long = format!(r#"{{"content":"{}"}}"#, "x".repeat(BYTES_MAX + 10));
        for text in [format!("{long}\n{event}\n"), format!("[{long},\n{event}]"), format!("x{long}\n{event}\n")] {
            let mut values = Values::new(text.as_bytes());
            assert!(matches!(values.next_value().unwrap(), Some((1, Value::Wrong(_)))));
            assert!(values.window.capacity() < 2 * BYTES_MAX + 4 * READ_BYTES);
            assert_eq!(values.next_value().unwrap(), Some((2, Value::Object(event.as_bytes()))));
            assert_eq!(values.next_value().unwrap(), None);
        }
        let mut barren = Values::new(io::repeat(b' '));
        assert!(barren.next_value().is_err());
        let mut barren = Values::new(io::repeat(b'{'));
        assert!(barren.next_value().is_err());
        assert!(barren.window.capacity() < 2 * BYTES_MAX);
    }
}
