//! What letters have in common: case, diacritics and forms of width are taken away.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// What a folded character is to a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    /// A letter or digit of a script that puts spaces between words.
    Letter,
    /// A character of a script that does not: it stands for itself.
    Sign,
    /// A mark that belongs to the letter before it.
    Mark,
    /// Anything else.
    Separator,
}

/// Calls `each` with every character of `text`, folded, in order.
///
/// Compatibility forms become plain (`Ａ` and `𝐀` are `a`, `ｶﾞ` is `ガ`), letters lower case, and diacritics of Latin,
/// Greek and Cyrillic letters and the points of Hebrew and Arabic are dropped, as are characters that nobody sees.
pub(super) fn fold(text: &str, mut each: impl FnMut(char, Sort)) {
    let mut rest = text;
    while !rest.is_empty() {
        let (plain, more) = rest.split_at(rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len()));
        for byte in plain.bytes() {
            let sort = if byte.is_ascii_alphanumeric() { Sort::Letter } else { Sort::Separator };
            each(char::from(byte.to_ascii_lowercase()), sort);
        }
        // An ASCII letter never becomes another one with what follows: its diacritics are dropped.
        let (other, after) = more.split_at(more.bytes().position(|byte| byte.is_ascii()).unwrap_or(more.len()));
        let folded = other.nfkd().flat_map(char::to_lowercase).filter(|c| !is_dropped(*c));
        let folded = folded.map(|c| if c == 'ς' { 'σ' } else { c });
        folded.nfc().for_each(|c| each(c, sort(c)));
        rest = after;
    }
}

fn sort(c: char) -> Sort {
    let mark = is_combining_mark(c);
    match (is_unspaced(c), mark, mark || c.is_alphanumeric()) {
        (_, _, false) => Sort::Separator,
        (true, ..) => Sort::Sign,
        (false, true, _) => Sort::Mark,
        (false, false, _) => Sort::Letter,
    }
}

fn is_dropped(c: char) -> bool {
    matches!(u32::from(c),
        // Soft hyphen, joiners, directions, selectors of variants.
        0xad | 0x200c..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xe0100..=0xe01ef
        // Diacritics, and what encloses symbols.
        | 0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe20..=0xfe2f
        // Hebrew points.
        | 0x591..=0x5bd | 0x5bf | 0x5c1..=0x5c2 | 0x5c4..=0x5c5 | 0x5c7
        // Arabic points, and the stroke that only stretches a word.
        | 0x610..=0x61a | 0x640 | 0x64b..=0x65f | 0x670 | 0x6d6..=0x6dc | 0x6df..=0x6e4 | 0x6e7..=0x6e8 | 0x6ea..=0x6ed)
}

/// True for scripts in which no space tells where a word ends, and for Korean, whose words carry their endings with them.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        // Thai, Lao, Tibetan; Burmese; Hangul letters; Khmer.
        0xe00..=0xfff | 0x1000..=0x109f | 0x1100..=0x11ff | 0x1780..=0x17ff
        // Tai scripts of China, Khmer symbols, Tai Tham, Balinese.
        | 0x1950..=0x19ff | 0x1a20..=0x1aaf | 0x1b00..=0x1b7f
        // Radicals, kana, Bopomofo, Hangul letters, ideographs, Yi.
        | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3021..=0x3029 | 0x3040..=0x318f | 0x31a0..=0x31ff | 0x3400..=0x4dbf
        | 0x4e00..=0xa4cf
        // Hangul letters, Javanese, Burmese, Tai Viet; Hangul syllables; ideographs; their supplements.
        | 0xa960..=0xa97f | 0xa980..=0xa9ff | 0xaa60..=0xaadf | 0xac00..=0xd7ff | 0xf900..=0xfaff
        | 0x1aff0..=0x1b16f | 0x20000..=0x3ffff)
}
