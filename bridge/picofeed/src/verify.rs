//! From decoded to verified.

use crate::{Block, Defect, Feed, InvalidFeed, Key, Limits, Unverified, signature::Verifier};

impl Feed<Unverified> {
    /// Checks every signature, and finds the author of every block.
    ///
    /// # Errors
    ///
    /// The first defect, and where it is. [`Feed::verify_prefix`] gives the blocks before it.
    pub fn verify(self, limits: &Limits) -> Result<Feed, InvalidFeed> {
        match self.verify_prefix(limits) {
            (feed, None) => Ok(feed),
            (_, Some(invalid)) => Err(invalid),
        }
    }

    /// Checks signatures as far as they are good, and tells why that ended if not at the end. See
    /// [`Feed::decode_prefix`] for when to use it.
    pub fn verify_prefix(self, limits: &Limits) -> (Feed, Option<InvalidFeed>) {
        let mut proven = Feed::new(self.format);
        proven.blocks.reserve_exact(self.blocks.len());
        let mut authors = Authors::new(self.keys, limits);
        for block in self.blocks {
            let (at, number) = (block.at(), proven.blocks.len());
            match authors.find(number, &block) {
                Ok(author) => proven.blocks.push(block.proven(author)),
                Err(defect) => {
                    return (proven, Some(InvalidFeed { block: number, at, defect }));
                }
            }
        }
        (proven, None)
    }
}

/// Finds out who wrote which block of a feed.
struct Authors<'a> {
    limits: &'a Limits,
    verifier: Verifier,
    /// Keys that are still to be announced, and before which block.
    coming: std::iter::Peekable<std::vec::IntoIter<(usize, Key)>>,
    /// Keys announced, each once; the likeliest author comes last.
    known: Vec<Key>,
    trials: usize,
}

impl<'a> Authors<'a> {
    fn new(keys: Vec<(usize, Key)>, limits: &'a Limits) -> Self {
        let coming = keys.into_iter().peekable();
        Self { limits, verifier: Verifier::default(), coming, known: Vec::new(), trials: 0 }
    }

    /// The author of block `number`. Blocks must be asked for in order.
    ///
    /// Upstream asks for the latest key that verifies a block. No two keys verify the same signature if checks are
    /// strict, so the order only decides the cost: a key just announced first, then who wrote last.
    fn find(&mut self, number: usize, block: &Block<Unverified>) -> Result<Key, Defect> {
        if let Some(author) = block.author_claimed() {
            return block.check(&author, &mut self.verifier).map(|()| author);
        }
        while let Some((_, key)) = self.coming.next_if(|(before, _)| *before <= number) {
            self.prefer(key)?;
        }
        let known = self.known.iter().rev().copied();
        for key in known {
            if block.check(&key, &mut self.verifier).is_ok() {
                self.prefer(key)?;
                return Ok(key);
            }
            self.trials += 1;
            if self.trials > self.limits.trials_max {
                return Err(Defect::TrialsTooMany);
            }
        }
        Err(Defect::Signature)
    }

    /// Makes `key` the first to be tried.
    fn prefer(&mut self, key: Key) -> Result<(), Defect> {
        if let Some(at) = self.known.iter().rposition(|known| *known == key) {
            self.known.remove(at);
        }
        if self.known.len() >= self.limits.keys_max {
            return Err(Defect::KeysTooMany);
        }
        self.known.push(key);
        Ok(())
    }
}
