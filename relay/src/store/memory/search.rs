//! Which words occur in a text (NIP-50).

/// What a search asks for: the words of each part of the query, in lower case. `foo-bar` is one part of two words.
pub(super) struct Words(Vec<Vec<String>>);

impl Words {
    /// Reads a query. `key:value` parts, but not URLs, are extensions, and this relay knows none.
    pub(super) fn of_query(text: &str) -> Self {
        let is_extension = |part: &&str| {
            part.split_once(':').is_some_and(|(key, value)| {
                let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase());
                is_key && !value.is_empty() && !value.starts_with("//")
            })
        };
        Self(text.split_whitespace().filter(|part| !is_extension(part)).map(words).collect())
    }

    /// True when the query says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// True when the words of every part occur in `text`, whole and next to each other.
    pub(super) fn occur_in(&self, text: &str) -> bool {
        let text = words(text);
        self.0.iter().all(|part| part.is_empty() || text.windows(part.len()).any(|window| window == part))
    }
}

/// The runs of letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn finds_whole_words() {
        let occurs = |query: &str, text: &str| Words::of_query(query).occur_in(text);
        assert!(occurs("Nostr relay", "a relay, for NOSTR"));
        assert!(occurs("foo-bar lang:en", "x foo bar"));
        assert!(occurs("https://x.y", "see https://x.y/z"));
        assert!(occurs("", "x"));
        assert!(!occurs("nost", "nostr"));
        assert!(!occurs("https://x.y", "x.y"));
        assert!(!occurs("nostr bitcoin", "nostr"));
        assert!(!occurs("foo-bar", "foo x bar"));
    }
}
