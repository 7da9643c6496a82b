//! A chain of blocks, or a part of one.

use std::{collections::HashSet, fmt, ops::Deref};

use bytes::Bytes;

use crate::{
    Block, Defect, Format, InvalidFeed, Key, Limits, Misuse, Secret, Unverified, Verified, format::Segment, pop02,
    read::Reader,
};

/// Blocks in order, each the parent of the next.
///
/// Dereferences to a slice of [`Block`]s. `Feed` alone is `Feed<Verified>`; see [`Feed::verify`].
#[derive(Clone)]
pub struct Feed<S = Verified> {
    pub(crate) format: Format,
    pub(crate) blocks: Vec<Block<S>>,
    /// Keys announced in v3 and POP-02, with the number of blocks before each. Of no use once authors are known.
    pub(crate) keys: Vec<(usize, Key)>,
}

/// Where [`Feed::encode_with`] puts the keys of a v3 or POP-02 feed. Readers take both. v8 has no keys beside blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Before the first block of each author, as picofeed writes.
    #[default]
    Once,
    /// Before every block, as picostack 1 sends what it has stored. Readers find each author at the first try.
    Repeated,
}

impl<S> Feed<S> {
    /// The format of all blocks.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The blocks, first to last.
    pub fn blocks(&self) -> &[Block<S>] {
        &self.blocks
    }

    /// The blocks, to keep.
    pub fn into_blocks(self) -> Vec<Block<S>> {
        self.blocks
    }

    /// Whether the feed has blocks but not the first of its chain.
    pub fn is_partial(&self) -> bool {
        self.blocks.first().is_some_and(|first| !first.is_genesis())
    }
}

impl Feed<Unverified> {
    /// Reads a feed of a known format. Nothing and only magic are empty feeds.
    ///
    /// Checks everything but signatures: the shape of each block, that each is the parent of the next, that there is
    /// nothing else. Blocks share memory with `bytes`.
    ///
    /// # Errors
    ///
    /// The first defect, and where it is. [`Feed::decode_prefix`] gives the blocks before it.
    pub fn decode(format: Format, bytes: impl Into<Bytes>, limits: &Limits) -> Result<Self, InvalidFeed> {
        match Self::decode_prefix(format, bytes, limits) {
            (feed, None) => Ok(feed),
            (_, Some(invalid)) => Err(invalid),
        }
    }

    /// Reads a feed of any format; see [`Format::detect`] for how it is found.
    ///
    /// # Errors
    ///
    /// Like [`Feed::decode`], for the likeliest format. What resembles no format is read as v8.
    pub fn decode_any(bytes: impl Into<Bytes>, limits: &Limits) -> Result<Self, InvalidFeed> {
        let bytes = bytes.into();
        let [first, second] = Format::candidates(&bytes);
        let result = Self::decode(first.unwrap_or(Format::V8), bytes.clone(), limits);
        match second {
            Some(format) if result.is_err() => Self::decode(format, bytes, limits).or(result),
            _ => result,
        }
    }

    /// Reads as much of a feed as is well-formed, and tells why it ended if not at the end.
    ///
    /// This is how picofeed 3.4 reads. A v3 feed with a defect is worth the blocks before it; with v8, whose readers
    /// reject the whole feed, [`Feed::decode`] is the better choice.
    pub fn decode_prefix(format: Format, bytes: impl Into<Bytes>, limits: &Limits) -> (Self, Option<InvalidFeed>) {
        let bytes = bytes.into();
        let mut feed = Self { format, blocks: Vec::new(), keys: Vec::new() };
        if bytes.len() > limits.feed_bytes_max {
            return (feed, Some(InvalidFeed { block: 0, at: 0, defect: Defect::FeedTooLong }));
        }
        let mut reader = Reader::new(&bytes);
        reader.skip(format.magic());
        let mut more = true;
        while more {
            let at = reader.at();
            more = match feed.read_segment(&bytes, &mut reader, limits) {
                Ok(more) => more,
                Err(defect) => {
                    let invalid = InvalidFeed { block: feed.blocks.len(), at, defect };
                    return (feed, Some(invalid));
                }
            }
        }
        let stray = InvalidFeed { block: feed.blocks.len(), at: reader.at(), defect: Defect::Trailing };
        let invalid = if reader.only_zeros() { None } else { Some(stray) };
        (feed, invalid)
    }

    /// Reads one segment; says whether there may be more.
    fn read_segment(&mut self, bytes: &Bytes, reader: &mut Reader<'_>, limits: &Limits) -> Result<bool, Defect> {
        let at = reader.at();
        let (layout, author, last) = match self.format.read_segment(reader, limits)? {
            Segment::End => return Ok(false),
            Segment::Key(key) => {
                self.keys.push((self.blocks.len(), key));
                return Ok(true);
            }
            Segment::Block { layout, author, last } => (layout, author, last),
        };
        let block = Block::new(self.format, bytes.slice(at..reader.at()), layout, Unverified::new(author, at));
        if author.is_none() && self.keys.is_empty() {
            return Err(Defect::AuthorMissing);
        }
        if self.blocks.last().is_some_and(|parent| block.parent_bytes() != Some(parent.signature())) {
            return Err(Defect::ParentMismatch);
        }
        if self.blocks.len() >= limits.blocks_max {
            return Err(Defect::BlocksTooMany);
        }
        self.blocks.push(block);
        Ok(!last)
    }
}

impl Feed {
    /// A feed without blocks.
    pub fn new(format: Format) -> Self {
        Self { format, blocks: Vec::new(), keys: Vec::new() }
    }

    /// A feed of these blocks.
    ///
    /// # Errors
    ///
    /// There are no blocks, they are of different formats, or one is not the parent of the next.
    pub fn from_blocks(blocks: impl IntoIterator<Item = Block>) -> Result<Self, Misuse> {
        let mut blocks = blocks.into_iter();
        let first = blocks.next().ok_or(Misuse::NoBlocks)?;
        let mut feed = Self { format: first.format(), blocks: vec![first], keys: Vec::new() };
        blocks.try_for_each(|block| feed.push(block))?;
        Ok(feed)
    }

    /// Adds a block at the end. An empty feed takes any block of its format.
    ///
    /// # Errors
    ///
    /// [`Misuse::FormatMismatch`], [`Misuse::ParentMismatch`].
    pub fn push(&mut self, block: Block) -> Result<(), Misuse> {
        if block.format() != self.format {
            return Err(Misuse::FormatMismatch { feed: self.format, block: block.format() });
        }
        if self.blocks.last().is_some_and(|last| block.parent_bytes() != Some(last.signature())) {
            return Err(Misuse::ParentMismatch);
        }
        self.blocks.push(block);
        Ok(())
    }

    /// Writes and signs a block at the end, and gives it.
    ///
    /// # Errors
    ///
    /// The body is empty, or cannot be expressed in this format: too long, or, in v8, beginning with a zero byte. The
    /// secret key is for another format.
    pub fn append(&mut self, body: &[u8], secret: &Secret) -> Result<Block, Misuse> {
        let parent = self.blocks.last().map(Block::id);
        let block = Block::sign(self.format, parent.as_ref(), body, secret)?;
        self.blocks.push(block.clone());
        Ok(block)
    }

    /// The blocks from one place up to another, or to the end, as a feed. Negative places count from the end:
    /// `feed.slice(-2, None)` is the last two blocks, `feed.slice(0, Some(-1))` all but the last. What lies beyond the
    /// last block does not count.
    ///
    /// # Errors
    ///
    /// [`Misuse::Range`] if there are no blocks between, or a place lies before the first one.
    pub fn slice(&self, from: isize, to: Option<isize>) -> Result<Self, Misuse> {
        let to = to.map_or(Ok(self.blocks.len()), |to| self.place(to))?;
        match self.blocks.get(self.place(from)?..to) {
            Some(blocks) if !blocks.is_empty() => {
                Ok(Self { format: self.format, blocks: blocks.to_vec(), keys: Vec::new() })
            }
            _ => Err(Misuse::Range),
        }
    }

    /// Keeps the first `height` blocks, or, if negative, drops that many from the end. Gives the new length.
    ///
    /// # Errors
    ///
    /// [`Misuse::Range`] if there are fewer blocks to drop.
    pub fn truncate(&mut self, height: isize) -> Result<usize, Misuse> {
        self.blocks.truncate(self.place(height)?);
        Ok(self.blocks.len())
    }

    /// An index, counted from the end if negative; at most the length.
    fn place(&self, n: isize) -> Result<usize, Misuse> {
        let len = self.blocks.len();
        match usize::try_from(n) {
            Ok(n) => Ok(n.min(len)),
            Err(_) => len.checked_sub(n.unsigned_abs()).ok_or(Misuse::Range),
        }
    }

    /// The feed as bytes, in the form the JavaScript packages write.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(Keys::Once)
    }

    /// The feed as bytes, with a choice of where keys go.
    pub fn encode_with(&self, keys: Keys) -> Vec<u8> {
        let blocks_len: usize = self.blocks.iter().map(|block| block.bytes().len()).sum();
        let mut out = Vec::with_capacity(self.format.magic().len() + blocks_len);
        out.extend(self.format.magic());
        let mut announced = HashSet::new();
        for (at, block) in self.blocks.iter().enumerate() {
            if let Some(prefix) = self.format.key_prefix()
                && (announced.insert(block.author()) || keys == Keys::Repeated)
            {
                out.extend(prefix);
                out.extend(block.author().as_bytes());
            }
            match block.bytes().split_first() {
                Some((flags, rest)) if self.format == Format::Pop02 => {
                    out.push(pop02::ending(*flags, at + 1 == self.blocks.len()));
                    out.extend(rest);
                }
                _ => out.extend(block.bytes()),
            }
        }
        out
    }
}

impl<S> Deref for Feed<S> {
    type Target = [Block<S>];

    fn deref(&self) -> &[Block<S>] {
        &self.blocks
    }
}

impl<'a, S> IntoIterator for &'a Feed<S> {
    type Item = &'a Block<S>;
    type IntoIter = std::slice::Iter<'a, Block<S>>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.iter()
    }
}

impl<S> IntoIterator for Feed<S> {
    type Item = Block<S>;
    type IntoIter = std::vec::IntoIter<Block<S>>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.into_iter()
    }
}

/// Feeds are the same if their blocks are.
impl PartialEq for Feed {
    fn eq(&self, other: &Self) -> bool {
        self.format == other.format && self.blocks == other.blocks
    }
}

impl Eq for Feed {}

impl<S: fmt::Debug> fmt::Debug for Feed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("format", &self.format).field("blocks", &self.blocks).finish_non_exhaustive()
    }
}
