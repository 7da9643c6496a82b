//! Proof of work (NIP-13).

use super::{Policy, Verdict};
use crate::clock::Timestamp;
use crate::event::Id;
use crate::outcome::Prefix;
use crate::source::Source;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "pow";

/// Kinds that machines sign on the fly and cannot mine: Nostr Wallet Connect, NIP-46, joins and leaves (NIP-43).
const EXEMPT: &[u16] = &[13194, 23194, 23195, 23196, 23197, 24133, 28934, 28936];

/// The id must have `min` leading zero bits, and its author must have meant it.
pub(super) struct Difficulty {
    pub(super) min: u8,
}

impl Policy for Difficulty {
    fn event(&self, event: &Verified, source: &Source, _: Timestamp) -> Verdict {
        if self.min == 0
            || matches!(source, Source::Bridge | Source::Upstream)
            || source.is_trusted_import()
            || EXEMPT.contains(&event.kind)
        {
            return Verdict::Accept;
        }
        let difficulty = leading_zeros(&event.id);
        if difficulty < u32::from(self.min) {
            return Verdict::reject(Prefix::Pow, NAME, format!("difficulty {difficulty} is less than {}", self.min));
        }
        // Without a target, or with a lower one, the id was luck: spammers try many events and keep the lucky ones.
        let nonce = event.tags.iter().find(|tag| tag.name() == "nonce");
        match nonce.and_then(|tag| tag.get(2)).map(str::parse::<u32>) {
            Some(Ok(target)) if target >= u32::from(self.min) => Verdict::Accept,
            Some(Ok(target)) => {
                Verdict::reject(Prefix::Pow, NAME, format!("committed target {target} is less than {}", self.min))
            }
            _ => Verdict::reject(Prefix::Pow, NAME, "the nonce tag has no target"),
        }
    }
}

fn leading_zeros(id: &Id) -> u32 {
    let mut zeros = 0;
    for byte in id.0 {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_zero_bits() {
        for (hex, zeros) in [
            ("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d", 36),
            ("6bf5b4f434813c64b523d2b0e6efe18f3bd0cbbd0a5effd8ece9e00fd2531996", 1),
            ("0000000000000000000000000000000000000000000000000000000000000000", 256),
        ] {
            assert_eq!(leading_zeros(&Id::from_hex(hex).unwrap()), zeros);
        }
    }
}
