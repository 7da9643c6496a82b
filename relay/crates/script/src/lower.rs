//! Lower case, faster than letter by letter in the interpreter, and the same.

/// Letters from here up to the one there have no lower case of their own: most scripts, signs and emoji. In order.
const WITHOUT: [(char, char); 6] = [
    ('\u{590}', '\u{1099}'),
    ('\u{2190}', '\u{24af}'),
    ('\u{2500}', '\u{2bff}'),
    ('\u{2e80}', '\u{a63f}'),
    ('\u{ac00}', '\u{ff20}'),
    ('\u{1f000}', '\u{10ffff}'),
];

/// The text in lower case. None if it has a Σ, of which the place in its word decides.
pub(super) fn lower(mut text: String) -> Option<String> {
    if text.is_ascii() {
        text.make_ascii_lowercase();
        return Some(text);
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            'Σ' => return None,
            _ if letter.is_ascii() => out.push(letter.to_ascii_lowercase()),
            _ if WITHOUT.iter().any(|(from, to)| (*from..=*to).contains(&letter)) => out.push(letter),
            _ => out.extend(letter.to_lowercase()),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_that_of_the_standard_library() {
        for letter in (' '..=char::MAX).filter(|letter| *letter != 'Σ') {
            let text = letter.to_string();
            assert_eq!(lower(text.clone()), Some(text.to_lowercase()), "{letter:?}");
        }
        assert_eq!(lower("ΑΣ".to_owned()), None);
    }
}
